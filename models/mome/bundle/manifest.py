"""The manifest of a model folder: every file with its SHA-256, and nothing else in the folder."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..header import WeightsError, sha256

MANIFEST = "manifest.json"
VERSION = 1
MAX_BYTES = 2**20  # of the manifest itself
MAX_FILES = 1000
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. +-]{0,127}")
"""A file or folder name that means the same everywhere; one with a leading dot is a hidden file, and never ours."""


class BundleError(WeightsError):
    """A model folder that must not be used, or cannot be written; the message names the files at fault."""


def write(folder: Path) -> str:
    """Write the manifest of all other files of a folder; its SHA-256."""
    files = {name: sha256(folder / name) for name in sorted(files_in(folder)) if name != MANIFEST}
    said = json.dumps({"version": VERSION, "files": files}, indent=1) + "\n"
    (folder / MANIFEST).write_text(said, encoding="utf-8", newline="\n")
    return sha256(folder / MANIFEST)


def read(folder: Path) -> dict[str, str]:
    """SHA-256 by file; raises BundleError where there is no manifest, or one that this software never wrote."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{folder.name} is no model folder: it has no {MANIFEST}. `mome bundle write` makes one.")
    if path.stat().st_size > MAX_BYTES:
        raise BundleError(f"{folder.name}: its {MANIFEST} is larger than any that this software writes.")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        version, files = said["version"], said["files"]
        known = {str(name): str(digest) for name, digest in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder.name}: its {MANIFEST} is damaged.") from error
    if version != VERSION:
        raise BundleError(f"{folder.name} is of version {version}, wanted {VERSION}: write it anew.")
    if strange := [name for name in known if not is_plain(name)]:
        raise BundleError(f"{folder.name}: its {MANIFEST} names a path outside the folder ({strange[0]!r}).")
    return known


def check(folder: Path) -> Mapping[str, str]:
    """The manifest, every file hashed anew; raises BundleError that names what was added, is missing or was changed."""
    known = read(folder)
    there = {name for name in files_in(folder) if name != MANIFEST}
    differ = {
        "changed": [name for name in sorted(there & known.keys()) if sha256(folder / name) != known[name]],
        "missing": sorted(known.keys() - there),
        "added": sorted(there - known.keys()),
    }
    if told := "; ".join(f"{kind}: {', '.join(names[:5])}" for kind, names in differ.items() if names):
        raise BundleError(f"{folder.name} was altered ({told}). Take the folder anew from where it came.")
    return known


def files_in(folder: Path) -> Iterator[str]:
    """Names of all files, relative, with "/"; raises BundleError for links, devices, odd names and far too many."""
    for count, path in enumerate(sorted(walked(folder))):
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleError(f"{folder.name} was altered: {name} is a link or no plain file.")
        if not is_plain(name):
            raise BundleError(f"{folder.name} was altered (added: {name!r}).")
        if count >= MAX_FILES:
            raise BundleError(f"{folder.name} holds more than {MAX_FILES} files: it is no model folder.")
        yield name


def walked(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no real folder itself; links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent) / name for name in files)
        yield from (path for path in (Path(parent) / name for name in folders) if path.is_symlink())


def is_plain(name: str) -> bool:
    return all(PART.fullmatch(part) for part in name.split("/"))
