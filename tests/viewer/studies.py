"""The synthetic studies that are looked at, with everything the node can write about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from mome_node.analyze import analyze_folder
from mome_node.phantom import write_study
from mome_node.settings import FurtherObject, Model, Results, Settings

SEED = 41  # a synthetic cancer that the demonstration weights score above their operating point: a region is selected
PRE_CONTRAST = "005"  # folders of the phantom are named after SeriesNumber
LOOKED_AT = {"002", "003", "005", "006", "009"}  # T2, DWI, first phases; vendor subtractions would treble the archive
FURTHER: tuple[FurtherObject, ...] = ("segmentation", "located_region", "parametric_map", "key_objects")
SETTINGS = Settings(model=Model(threads=1), results=Results(demonstrate_advice=True))


@dataclass(frozen=True, slots=True)
class Study:
    """A study as the archive holds it."""

    uid: str
    images: tuple[Path, ...]
    result_files: tuple[Path, ...]
    results: dict[str, Dataset]  # by stem of the file: report, overlay, segmentation, ...

    @property
    def files(self) -> tuple[Path, ...]:
        return self.images + self.result_files

    @property
    def descriptions(self) -> list[str]:
        return [str(result.SeriesDescription) for result in self.results.values()]


def analysed(scratch: Path) -> Study:
    """A study with a planted synthetic cancer, and its results."""
    return _study(scratch / "analysed", SEED, malignant=True)


def refused(scratch: Path) -> Study:
    """The study of another synthetic patient, sent without the phase before contrast, and the report that says so."""
    return _study(scratch / "refused", SEED + 1, malignant=False, without=PRE_CONTRAST)


def _study(folder: Path, seed: int, *, malignant: bool, without: str | None = None) -> Study:
    written = write_study(folder / "images", seed, malignant=malignant)
    for file in written.files:
        if file.parent.name == without:
            file.unlink()
    (outcome,) = analyze_folder(folder / "images", folder / "results", SETTINGS, further=FURTHER, say=lambda _: None)
    assert outcome.folder is not None, outcome.words
    results = tuple(sorted(outcome.folder.glob("*.dcm")))
    images = tuple(file for file in written.files if file.exists() and file.parent.name in LOOKED_AT)
    return Study(written.study_instance_uid, images, results, {file.stem: pydicom.dcmread(file) for file in results})
