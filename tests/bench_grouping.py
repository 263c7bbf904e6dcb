"""How long grouping a study of 2,000 images takes, against one plain pass of pydicom over the same files.

    python -m tests.bench_grouping [FOLDER]

Without FOLDER it writes two synthetic studies and takes these: six series of one description (2,156 images), and an
Enhanced MR study (1,330 frames in 5 objects). The plain pass is `pydicom.dcmread(path, stop_before_pixels=True)`, the
grouping what `mome-node group` does after it has started. Both run in turn, five times, each from a cold file cache
where the system lets us drop it. A plain pass leaves functional groups as bytes: so a third one reads them, each frame
with its position, as anything that sorts frames must.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom

from mome_node.analysis import headers, series_grouping

from .node.make_study import write_study

STUDIES, ROUNDS = ("EX02", "EX06"), 5


def plain(files: list[Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in files:
            pydicom.dcmread(path, stop_before_pixels=True, force=True)


def with_frames(files: list[Path]) -> None:
    """The plain pass, and the position of each frame of multi-frame objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in files:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            for frame in dataset.get("PerFrameFunctionalGroupsSequence", []):
                _ = frame.PlanePositionSequence[0].ImagePositionPatient


def grouping(folder: Path) -> None:
    studies, unusable = headers.read_folder(folder)
    json.dumps(series_grouping.report(studies, unusable, folder))


def forget(files: list[Path]) -> bool:
    """Drop the files from the page cache; False where the system has no way to."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    cold = forget(files)
    print(f"{len(files)} files, {'cold' if cold else 'warm'} cache, Python {platform.python_version()},", end=" ")
    print(f"pydicom {pydicom.__version__}, {os.cpu_count()} cores")
    work = {
        "plain pass": lambda: plain(files),
        "plain pass with frames": lambda: with_frames(files),
        "grouping": lambda: grouping(folder),
    }
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, run in work.items():
            forget(files)
            took[name].append(timed(run))
        print(", ".join(f"{name} {times[-1]:.3f} s" for name, times in took.items()))
    for name in ("plain pass", "plain pass with frames"):
        ratios = sorted(g / p for g, p in zip(took["grouping"], took[name], strict=True))
        print(f"grouping in times of a {name}: median {ratios[ROUNDS // 2]:.2f}, highest {ratios[-1]:.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        examples = Path(__file__).parent / "data" / "grouping_examples.json"
        for spec in json.loads(examples.read_text(encoding="utf-8"))["studies"]:
            if spec["id"] in STUDIES:
                with tempfile.TemporaryDirectory() as temporary:
                    write_study(spec, Path(temporary), rows=64, cols=64)
                    main(Path(temporary))
