"""Where received objects lie: whole or not at all.

`incoming/<receiver>/` holds what is being received and is emptied when that receiver starts; `objects/` holds what is
whole, one file per SOP Instance UID; `quarantine/` holds what contradicts an object that is already there. All three
are on one file system, because a rename across file systems is neither atomic nor cheap.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import StateFolderError


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Why an object was not written: answered with "Refused: Out of Resources" (A700, PS3.4 B.2.3)."""

    words: str
    remedy: str


class IncomingFile:
    """One object on its way to disk, hashed as it is written.

    Writing never raises: at the size limit or on a full disk the bytes are dropped and `no_room` says why, so that the
    peer gets a status instead of a broken association. A file that is let go without `Spool.keep` is removed.
    """

    def __init__(self, path: Path, *, limit: int, no_room: NoRoom | None = None) -> None:
        self.path = path
        self.size = 0
        self.no_room = no_room
        self._limit = limit
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None if no_room else path.open("xb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        self.size += len(data)
        if self.no_room is None and self.size > self._limit:
            self._give_up(f"The object is larger than {self._limit >> 20} MB.", "Raise receiver.max_object_mb.")
        if self._file is not None:
            try:
                self._file.write(data)
                self._hash.update(data)
            except OSError as error:
                self._give_up(f"The spool cannot be written: {error.strerror}.", "Make room on the spool's disk.")
        return len(data)

    def _give_up(self, words: str, remedy: str) -> None:
        self.no_room = NoRoom(words, remedy)
        self.discard()

    def make_durable(self) -> None:
        """Everything written is on disk when this returns. Raises OSError where it cannot be."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Close and remove; nothing happens to a file that was kept."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk refuses the last flush too
                self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.discard()


class Spool:
    """The folder of received objects; several processes may share it."""

    def __init__(
        self, folder: Path, *, receiver: str = "receiver-0", reserve_bytes: int = 0, max_object_bytes: int = 1 << 31
    ) -> None:
        """Makes the folders. `reserve_bytes` of free disk space are never used up by what comes in.

        Raises StateFolderError where the folder is not writable.
        """
        self.folder = folder
        self.reserve_bytes = reserve_bytes
        self.max_object_bytes = max_object_bytes
        self._incoming = folder / "incoming" / receiver
        self._number = itertools.count()
        try:
            for part in (self._incoming, folder / "objects", folder / "quarantine"):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateFolderError(
                f"The spool {folder} cannot be used: {error.strerror}.",
                remedy="Make it writable for the account that runs mome-node, on a local disk.",
            ) from error

    def empty_incoming(self) -> None:
        """Remove what this receiver was receiving when it was killed; called by the receiver itself at its start."""
        for left in self._incoming.iterdir():
            left.unlink()

    def no_room(self) -> NoRoom | None:
        """Why nothing may be received now, or None: what was accepted must still have room to be worked on."""
        free = shutil.disk_usage(self.folder).free
        if free >= self.reserve_bytes:
            return None
        return NoRoom(
            f"Only {free >> 20} MB are free on the spool's disk; {self.reserve_bytes >> 20} MB are kept in reserve.",
            "Make room, or lower receiver.reserve_mb.",
        )

    def incoming(self) -> IncomingFile:
        """A new file for one object, not yet visible to anyone."""
        path = self._incoming / f"{os.getpid()}-{next(self._number)}.dcm"
        return IncomingFile(path, limit=self.max_object_bytes, no_room=self.no_room())

    def place(self, sop_instance_uid: str) -> Path:
        """Final path of an object. The UID must have been checked: it becomes a file name."""
        shard = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:2]
        return self.folder / "objects" / shard / f"{sop_instance_uid}.dcm"

    def relative(self, path: Path) -> str:
        """The path as the ledger stores it."""
        return path.relative_to(self.folder).as_posix()

    @contextlib.contextmanager
    def lock(self, sop_instance_uid: str) -> Iterator[None]:
        """Nobody else, in any process, decides about this UID inside the block."""
        folder = self.place(sop_instance_uid).parent
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def keep(self, incoming: IncomingFile, sop_instance_uid: str) -> Path:
        """Give a whole file its final name; both are durable when this returns. To be called inside `lock`.

        A file that is already there under this name is replaced: the caller has seen that it was never acknowledged.
        """
        return _move(incoming, self.place(sop_instance_uid))

    def quarantine(self, incoming: IncomingFile, sop_instance_uid: str) -> Path:
        """Put aside an object whose UID is taken by another one; the same bytes twice lie there once."""
        name = f"{sop_instance_uid}.{incoming.sha256[:16]}.dcm"
        return _move(incoming, self.folder / "quarantine" / name)

    def objects(self) -> Iterator[Path]:
        """Every whole object that lies in the spool."""
        return (self.folder / "objects").glob("??/*.dcm")


def _move(incoming: IncomingFile, target: Path) -> Path:
    incoming.make_durable()
    incoming.path.replace(target)
    _sync_folder(target.parent)
    return target


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
