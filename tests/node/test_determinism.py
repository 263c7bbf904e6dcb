"""The same study gives the same bytes: wherever its files lie, whatever they are called, in whatever process.

Archives keep the first content under a UID and say nothing: two contents under one UID can never be put right.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import get_args

import pydicom
import pytest
from pydicom.dataset import Dataset

from mome_node.analyze import analyze_folder
from mome_node.phantom import write_study
from mome_node.settings import FurtherObject, Model, Settings

FURTHER = get_args(FurtherObject)
OFFSET = "+0530"  # of the images; the study was analysed at 10:00 in Paris
NOW = "2024-05-17T10:00:00+02:00"


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic studies in one folder: one that is analysed, and one without a dynamic series, that is refused."""
    folder = tmp_path_factory.mktemp("studies")
    for path in write_study(folder, 41, malignant=True).files:
        image = pydicom.dcmread(path)
        if "SUB" in image.ImageType:
            path.unlink()
            continue
        image.TimezoneOffsetFromUTC = OFFSET
        image.save_as(path, enforce_file_format=True)
        if "t2" in image.SeriesDescription:
            _save_in_another_study(image, folder / "refused" / path.name)
    return folder


def _save_in_another_study(image: Dataset, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.901", "2.25.902"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.903.{image.InstanceNumber}"
    image.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def once(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Everything that one run over the folder leaves, by name."""
    out = tmp_path_factory.mktemp("once")
    settings = Settings(model=Model(threads=1))
    outcomes = analyze_folder(studies, out, settings, now=NOW, further=FURTHER, say=lambda _: None)
    assert sorted(outcome.status for outcome in outcomes) == ["analysed", "not_analysed"]
    return files(out)


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def jumbled(studies: Path, folder: Path) -> Path:
    """The same files in one flat folder, under names and in an order of their own."""
    folder.mkdir()
    paths = sorted(studies.rglob("*.dcm"))
    names = random.Random(7).sample(range(10**6), len(paths))
    for path, name in zip(random.Random(8).sample(paths, len(paths)), names, strict=True):
        shutil.copyfile(path, folder / f"{name:06d}.ima")
    return folder


def test_another_folder_other_names_and_another_process_give_the_same_bytes(
    studies: Path, once: Mapping[str, bytes], tmp_path: Path
) -> None:
    """Every object of an analysed and of a refused study, findings.json and the page; with other hashes of strings."""
    config = tmp_path / "node.toml"
    config.write_text("[model]\nthreads = 1\n", encoding="utf-8")
    files_given, out = jumbled(studies, tmp_path / "elsewhere"), tmp_path / "twice"
    also = [word for name in FURTHER for word in ("--also", name)]
    run = subprocess.run(
        [sys.executable, "-m", "mome_node.cli", "--config", config, "analyze", files_given, "--out", out, "--now", NOW,
         *also],
        env={**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    twice = files(out)
    assert sorted(twice) == sorted(once)
    assert [name for name in once if once[name] != twice[name]] == []


def test_the_comparison_covers_every_kind_of_object(once: Mapping[str, bytes]) -> None:
    """A kind that were not written would be equal, too."""
    kinds = {f"{name}.dcm" for name in ("report", "overlay", *FURTHER)}
    assert {Path(name).name for name in once} == kinds | {"summary.png", "findings.json"}
    assert sum(name.endswith("report.dcm") for name in once) == 2


def test_every_time_is_in_the_zone_of_the_images(studies: Path, once: Mapping[str, bytes]) -> None:
    """TimezoneOffsetFromUTC governs every date and time of an object, the copied ones as well (PS3.3 C.12.1.1.8)."""
    image = pydicom.dcmread(next(studies.rglob("*.dcm")))
    results = [pydicom.dcmread(BytesIO(content)) for name, content in once.items() if name.endswith(".dcm")]
    for ds in results:
        assert ds.TimezoneOffsetFromUTC == OFFSET
        assert (ds.StudyDate, ds.StudyTime) == (image.StudyDate, image.StudyTime)
        assert (ds.ContentDate, ds.ContentTime) == ("20240517", "133000")
        assert (ds.SeriesTime, ds.InstanceCreationTime) == ("133000", "133000")
