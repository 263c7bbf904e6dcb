"""Connections and transactions of the ledger, and its history of events; several processes may hold it open."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, and_, create_engine, event, insert, select, update
from sqlalchemy.exc import DatabaseError

from ..errors import StateFolderError
from .records import EventKind, EventRecord
from .schema import about, events, migrate

BUSY_TIMEOUT_S = 30
REPEATS_WITHIN = timedelta(hours=1)
"""The same event again within this time is counted, so that an unknown scanner cannot flood the history."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Database:
    """The open ledger file. Safe for threads and for processes; every public method of a ledger is one transaction."""

    def __init__(self, file: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        """Opens the ledger, makes it where there is none, migrates an older one.

        Raises StateFolderError where the folder cannot be written or the ledger is of a newer version.
        """
        self._now = now
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._engine = _sqlite(file)
            with self._write() as connection:
                migrate(connection)
                self._patient_secret: str = connection.execute(select(about.c.patient_secret)).scalar_one()
        except (OSError, DatabaseError) as error:
            cause = getattr(error, "orig", None) or error
            raise StateFolderError(
                f"The ledger {file} cannot be opened: {cause}.",
                remedy="Make its folder writable for the account that runs mome-node, on a local disk.",
            ) from error

    def close(self) -> None:
        self._engine.dispose()

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its first statement, so that no read in it gets stale."""
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection

    def _note(
        self, connection: Connection, kind: EventKind, words: str, *, study: str | None = None, peer: str | None = None
    ) -> None:
        """Add an event, or count it once more where the last such event of the hour says the same."""
        now = self._now()
        same = and_(
            events.c.kind == kind,
            events.c.words == words,
            events.c.study_instance_uid.is_not_distinct_from(study),
            events.c.peer.is_not_distinct_from(peer),
            events.c.last_at > now - REPEATS_WITHIN,
        )
        repeated = connection.execute(select(events.c.id).where(same).order_by(events.c.id.desc()).limit(1)).scalar()
        if repeated is None or kind is EventKind.STATE:
            connection.execute(
                insert(events).values(
                    kind=kind, study_instance_uid=study, peer=peer, words=words, first_at=now, last_at=now
                )
            )
        else:
            counted = update(events).where(events.c.id == repeated)
            connection.execute(counted.values(times=events.c.times + 1, last_at=now))

    def note(self, kind: EventKind, words: str, *, study: str | None = None, peer: str | None = None) -> None:
        """Write an event into the history: what happened and what to do, without patient data."""
        with self._write() as connection:
            self._note(connection, kind, words, study=study, peer=peer)

    def events(
        self, study: str | None = None, *, kinds: tuple[EventKind, ...] = (), newest: int = 1000
    ) -> tuple[EventRecord, ...]:
        """The newest events in order of time: of one study or of all, of some kinds or of every kind."""
        wish = select(events).order_by(events.c.id.desc()).limit(newest)
        if study is not None:
            wish = wish.where(events.c.study_instance_uid == study)
        if kinds:
            wish = wish.where(events.c.kind.in_(kinds))
        with self._read() as connection:
            rows = connection.execute(wish).mappings().all()
        return tuple(EventRecord(**typed(row, kind=EventKind)) for row in reversed(rows))


def typed(row: RowMapping, **types: Callable[[Any], Any]) -> dict[str, Any]:
    """A row as the arguments of its record, with the named columns converted where they are not NULL."""
    return {key: types[key](value) if key in types and value is not None else value for key, value in row.items()}


def _sqlite(file: Path) -> Engine:
    """WAL and synchronous=FULL: a committed row survives a power cut, and readers never wait for a writer."""
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=8, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
