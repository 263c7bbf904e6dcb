"""Tables of the ledger, and how an older ledger becomes a newer one. The same on SQLite and PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)

from ..errors import StateFolderError


class UtcTime(TypeDecorator[datetime]):
    """Aware datetimes in, aware datetimes out; SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


Uid = String(64)
RowNumber = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER key

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("schema_version", Integer, nullable=False),
    Column("patient_secret", String(64), nullable=False),
)

studies = Table(
    "studies",
    metadata,
    Column("study_instance_uid", Uid, primary_key=True),
    Column("patient_key", String(64), nullable=False),
    Column("first_received", UtcTime, nullable=False),
    Column("last_received", UtcTime, nullable=False, index=True),
    Column("instances", Integer, nullable=False, default=0),
    Column("images", Integer, nullable=False, default=0),
    Column("last_image_at", UtcTime),
    Column("last_image_seq", BigInteger, nullable=False, default=0),
    Column("assembled_seq", BigInteger, nullable=False, default=0),
    Column("complete_requested_at", UtcTime),
    Column("crashes", Integer, nullable=False, default=0),
    Column("withdrawals", Integer, nullable=False, default=0),
    Column("retries", Integer, nullable=False, default=0),
    Column("taken_retries", Integer, nullable=False, default=0, server_default="0"),
)

instances = Table(
    "instances",
    metadata,
    Column("seq", RowNumber, primary_key=True, autoincrement=True),
    Column("sop_instance_uid", Uid, nullable=False, unique=True),
    Column("sop_class_uid", Uid, nullable=False),
    Column("series_instance_uid", Uid, nullable=False),
    Column("study_instance_uid", Uid, ForeignKey("studies.study_instance_uid"), nullable=False, index=True),
    Column("transfer_syntax_uid", Uid, nullable=False),
    Column("modality", String(16), nullable=False),
    Column("image_type", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("address", Text, nullable=False),
    Column("starts", Boolean, nullable=False),
    Column("own", Boolean, nullable=False),
    Column("times_received", Integer, nullable=False, default=1),
    Column("received_at", UtcTime, nullable=False),
    Column("last_received_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

open_associations = Table(
    "open_associations",
    metadata,
    Column("association", String(64), primary_key=True),
    Column("study_instance_uid", Uid, primary_key=True, index=True),
    Column("receiver", String(64), nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("address", Text, nullable=False),
    Column("last_object_at", UtcTime, nullable=False),
)

analyses = Table(
    "analyses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("study_instance_uid", Uid, ForeignKey("studies.study_instance_uid"), nullable=False, index=True),
    Column("generation", String(64), nullable=False),
    Column("result_identity", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(32), nullable=False, default=""),
    Column("outcome", String(16)),
    Column("words", Text, nullable=False, default=""),
    Column("facts", Text, nullable=False, default="{}"),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

stages = Table(
    "stages",
    metadata,
    Column("analysis_id", Text, ForeignKey("analyses.id"), primary_key=True),
    Column("stage", String(32), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("words", Text, nullable=False, default=""),
)

results = Table(
    "results",
    metadata,
    Column("sop_instance_uid", Uid, primary_key=True),
    Column("series_instance_uid", Uid, nullable=False, index=True),
    Column("sop_class_uid", Uid, nullable=False),
    Column("analysis_id", Text, ForeignKey("analyses.id"), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("analysis_id", Text, ForeignKey("analyses.id"), primary_key=True),
    Column("destination", String(32), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_try_at", UtcTime),
    Column("last_words", Text, nullable=False, default=""),
    Column("created_at", UtcTime, nullable=False),
    Column("delivered_at", UtcTime),
    Column("reason", String(32), nullable=False, default="", server_default=""),
)

delivered_objects = Table(
    "delivered_objects",
    metadata,
    Column("analysis_id", Text, ForeignKey("analyses.id"), primary_key=True),
    Column("destination", String(32), primary_key=True),
    Column("sop_instance_uid", Uid, primary_key=True),
    Column("series_instance_uid", Uid, nullable=False),
    Column("sop_class_uid", Uid, nullable=False),
    Column("path", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("words", Text, nullable=False, default=""),
    Column("delivered_at", UtcTime, nullable=False),
)

observations = Table(
    "observations",
    metadata,
    Column("study_instance_uid", Uid, ForeignKey("studies.study_instance_uid"), primary_key=True),
    Column("generation", String(64), nullable=False),
    Column("analysis_id", Text, ForeignKey("analyses.id"), nullable=False),
    Column("received_at", UtcTime, nullable=False, index=True),
    Column("model", Text, nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("software", Text, nullable=False),
    Column("making", Text, nullable=False),
    Column("manufacturer", Text, nullable=False),
    Column("scanner_model", Text, nullable=False),
    Column("field_strength_t", Float),
    Column("device", String(8), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("codes", Text, nullable=False),
    Column("sequences", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("scores", Text, nullable=False),
    Column("measures", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("study_instance_uid", Uid),  # no foreign key: an object may be refused before its study exists
    Column("peer", Text),
    Column("words", Text, nullable=False),
    Column("times", Integer, nullable=False, default=1),
    Column("first_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    Index("events_by_study", "study_instance_uid", "id"),
    Index("events_by_kind", "kind", "peer", "last_at"),
)


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(insert(about).values(schema_version=0, patient_secret=secrets.token_hex(32)))


def _withdrawals(connection: Connection) -> None:
    """Which objects a destination has, why they are taken back, and which wishes were taken up.

    A ledger that today's first step made has all three; an older one learns what it has sent from its results.
    """
    delivered_objects.create(connection, checkfirst=True)
    for table, column in (
        (deliveries, "reason VARCHAR(32) NOT NULL DEFAULT ''"),
        (studies, "taken_retries INTEGER NOT NULL DEFAULT 0"),
    ):
        if column.split()[0] not in {known["name"] for known in inspect(connection).get_columns(table.name)}:
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column}"))
    connection.execute(text("UPDATE studies SET taken_retries = retries"))
    sent = (
        select(
            deliveries.c.analysis_id,
            deliveries.c.destination,
            results.c.sop_instance_uid,
            results.c.series_instance_uid,
            results.c.sop_class_uid,
            results.c.path,
            literal(0),
            literal(""),
            deliveries.c.delivered_at,
        )
        .join(results, results.c.analysis_id == deliveries.c.analysis_id)
        .where(deliveries.c.delivered_at.is_not(None))
    )
    connection.execute(
        insert(delivered_objects).from_select([column.name for column in delivered_objects.columns], sent)
    )


def _drift_watch(connection: Connection) -> None:
    """What the drift watch keeps of each study. Empty at first: older analyses have not kept their measures."""
    observations.create(connection, checkfirst=True)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create, _withdrawals, _drift_watch)
"""Step n makes version n+1 of version n. Released steps are never edited; a change of the tables adds one."""


def migrate(connection: Connection) -> None:
    """Bring the ledger to this software's version, inside the caller's transaction.

    Raises StateFolderError for a ledger that a newer software has written.
    """
    version = 0
    if inspect(connection).has_table(about.name):
        version = connection.execute(select(about.c.schema_version)).scalar_one()
    if version > len(MIGRATIONS):
        raise StateFolderError(
            f"The ledger has version {version}; this software knows versions up to {len(MIGRATIONS)}.",
            remedy="Install the newer mome-node again, or name another state folder.",
        )
    for step in MIGRATIONS[version:]:
        step(connection)
    if version < len(MIGRATIONS):
        connection.execute(update(about).values(schema_version=len(MIGRATIONS)))
