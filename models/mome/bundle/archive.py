"""A model folder as one .zip: the same folder gives the same bytes; nothing in a foreign one gets out of its folder."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from pathlib import Path

from ..header import sha256
from .manifest import MANIFEST, MAX_FILES, BundleError, files_in, is_plain

MAX_UNPACKED = 16 * 2**30
"""Bytes; networks of the paper's size take 0.5 to 1.2 GB."""
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows: no clock in the bytes
CHUNK = 2**20


def write(folder: Path, out: Path) -> None:
    """Stored, not deflated: weights hardly shrink, and libraries deflate differently. Appears whole or not at all.

    The archive holds one folder of its own name, as MONAI's tools look for it.
    """
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
            for name in sorted(files_in(folder)):
                entry = zipfile.ZipInfo(f"{out.stem}/{name}", DATE)
                entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, a plain file that all may read
                entry.file_size = (folder / name).stat().st_size
                with (folder / name).open("rb") as source, file.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, CHUNK)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def unpacked(path: Path) -> Path:
    """The folder of an archive in the user's cache, named by the archive's SHA-256, made where it is not there yet.

    Its files are not checked here. Raises BundleError for an archive that this software never wrote, or a cache that
    cannot be written.
    """
    folder = cache() / sha256(path)[:32] / path.stem
    try:
        if not (folder / MANIFEST).exists():
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
            try:
                unpack(path, partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        same_manifest(path, folder)
    except OSError as error:
        raise BundleError(
            f"{path.name} cannot be unpacked into {folder.parent} ({error.strerror}): unpack it, and name the folder."
        ) from error
    return folder


def cache() -> Path:
    """$XDG_CACHE_HOME/mome, by default ~/.cache/mome."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mome"


def same_manifest(path: Path, folder: Path) -> None:
    """What lies in the cache must be what the archive holds; the manifest then vouches for every file."""
    with opened(path) as file:
        entry = next((e for e in entries(file, path) if inside(e) == MANIFEST), None)
        if entry is None or file.read(entry) != (folder / MANIFEST).read_bytes():
            raise BundleError(f"{path.name} was unpacked before into {folder}, which was altered: delete that folder.")


def opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BundleError(f"{path.name} is no archive, or cut short: {error}.") from error


def unpack(path: Path, folder: Path) -> None:
    """Into a new folder; raises BundleError before anything is written where the archive holds what no folder has."""
    with opened(path) as file:
        found = entries(file, path)
        folder.mkdir()
        for entry in found:
            target = folder / inside(entry)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with file.open(entry) as source, target.open("xb") as written:
                    left = entry.file_size
                    while part := source.read(CHUNK):
                        left -= len(part)
                        if left < 0:
                            raise BundleError(f"{path.name}: {entry.filename} is longer than the archive says.")
                        written.write(part)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
                raise BundleError(f"{path.name}: {entry.filename} cannot be read: {error}.") from error


def entries(file: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The files of an archive, every name looked at; raises BundleError."""
    found = [entry for entry in file.infolist() if not entry.is_dir()]
    names = [entry.filename for entry in found]
    wrong = [e.filename for e in found if stat.S_ISLNK(e.external_attr >> 16)]
    wrong += [name for name in names if not is_plain(name) or "/" not in name]
    if wrong:
        raise BundleError(f"{path.name} was not opened: it holds a path or link that leads elsewhere ({wrong[0]!r}).")
    if len(set(names)) < len(names) or len({name.split("/")[0] for name in names}) > 1:
        raise BundleError(f"{path.name} was not opened: it is not the archive of one folder.")
    if len(found) > MAX_FILES or sum(entry.file_size for entry in found) > MAX_UNPACKED:
        raise BundleError(
            f"{path.name} was not opened: unpacked it has more than {MAX_FILES} files or {MAX_UNPACKED >> 30} GB."
        )
    return found


def inside(entry: zipfile.ZipInfo) -> str:
    """The name in the folder: without that of the folder itself."""
    return entry.filename.split("/", 1)[1]
