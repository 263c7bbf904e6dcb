"""What a page of OHIF displays, against what the objects say: sentences, pixels, millimetres.

Each check opens one result of a study as a reader would, fails with what is not displayed, and says what it saw.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from .browser import WINDOW, Page
from .studies import Study

CONCLUSION, ADVICE, REASON, SCORES = "121077", "ADV_TEXT", "NA_REASON", {"AI_SCORE", "111047"}
ALIKE = 0.9  # correlation from which the displayed page is the drawn one; other frames stay below
SAMPLED = 192  # rows and columns on which pages are compared: words are still words, smoothing no longer matters
COLOURED = 40  # difference of the channels from which a pixel of a grey image shows something drawn over it
NEAR_MM = 3.0  # two pixels of the synthetic dynamic series
CANVAS = "document.querySelector('canvas.cornerstone-canvas')"
PROMPT = "Do you want to open this Segmentation?"
TOUR = "Skip all"
IMAGE_NUMBER = r"/I:\s*(\d+)\s*\(\d+\/\d+\)/"  # "I:42 (17/58)": InstanceNumber, position in the series

Picture = npt.NDArray[np.uint8]  # (rows, columns, 3)


class Viewer:
    """OHIF with one study open."""

    def __init__(self, page: Page, address: str, out: Path) -> None:
        self.page, self.address, self.out = page, address, out

    def open(self, study: Study) -> None:
        """Open the study and wait until its series are listed and the first is displayed."""
        self.page.open(f"{self.address}/viewer?StudyInstanceUIDs={study.uid}")
        self.page.wait_for("the first image", f"!!{CANVAS}")
        for description in study.descriptions:
            self.page.wait_for(f"{description!r} among the series", _says(description))
        time.sleep(3)
        self.page.click_if_there(TOUR)  # of everybody's first visit

    def show(self, result: Dataset) -> None:
        """Double-click on the thumbnail of a series."""
        self.page.click(str(result.SeriesDescription), times=2)
        self.page.point_away()

    def image_area(self) -> Picture:
        """Where the image is displayed, with whatever lies over it."""
        x, y, width, height = self.page.evaluate(
            f"(r => [r.x, r.y, r.width, r.height])({CANVAS}.getBoundingClientRect())"
        )
        return np.asarray(self.page.picture((x, y, width, height)))

    def canvas(self) -> Picture:
        """The image itself, without the viewer's texts over it."""
        data = str(self.page.evaluate(f"{CANVAS}.toDataURL('image/png')"))
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))

    def settle(self) -> None:
        """Wait until nothing is said to be loading; at most a minute, for a screenshot shows what came of it."""
        with contextlib.suppress(AssertionError):
            self.page.wait_for("the end of loading", "!document.body.innerText.includes('Loading')", limit_s=60)
        time.sleep(2)

    def keep(self, name: str) -> None:
        """A screenshot for a person."""
        self.page.picture().save(self.out / f"{name}.png")


# ------------------------------------------------------------------ the report
def report(viewer: Viewer, study: Study) -> str:
    """Every sentence and every number of the report stands on the page, the conclusion without scrolling."""
    sr = study.results["report"]
    lines = list(_lines(sr.ContentSequence))
    concepts = {line.concept for line in lines}
    assert CONCLUSION in concepts, "the report holds no conclusion"
    assert REASON in concepts or (ADVICE in concepts and SCORES & concepts), "neither score and advice nor a reason"
    viewer.show(sr)
    conclusion = next(line.value for line in lines if line.concept == CONCLUSION)
    viewer.page.wait_for("the conclusion of the report", _says(conclusion))
    text = _plain(viewer.page.text())
    absent = [line.words for line in lines if line.words not in text]
    assert not absent, f"{len(absent)} of {len(lines)} lines of the report are not displayed, first: {absent[0]!r}"
    bottom = viewer.page.bottom_of(conclusion)
    assert bottom <= WINDOW[1], f"the conclusion ends {bottom:.0f} pixels below the top: a reader would have to scroll"
    return f"{len(lines)} sentences and numbers, the conclusion at {bottom:.0f} of {WINDOW[1]} pixels"


@dataclass(frozen=True, slots=True)
class Line:
    """One TEXT or NUM item of a report."""

    concept: str  # code value
    name: str
    value: str

    @property
    def words(self) -> str:
        """As OHIF writes it."""
        return _plain(f"{self.name}: {self.value}")


def _lines(items: Sequence[Dataset]) -> Iterator[Line]:
    """The sentences and numbers of a content tree, in order."""
    for item in items:
        name = item.ConceptNameCodeSequence[0] if "ConceptNameCodeSequence" in item else None
        if name is not None and item.ValueType == "TEXT":
            yield Line(name.CodeValue, name.CodeMeaning, item.TextValue)
        elif name is not None and item.ValueType == "NUM":
            yield Line(name.CodeValue, name.CodeMeaning, f"{item.MeasuredValueSequence[0].NumericValue:g}")
        yield from _lines(item.get("ContentSequence", []))


# ------------------------------------------------------------------ the overlay
def overlay(viewer: Viewer, study: Study) -> str:
    """The viewer opens the overlay on its first frame, and displays that frame as it was drawn."""
    sc = study.results["overlay"]
    frames = np.frombuffer(sc.PixelData, np.uint8).reshape(-1, sc.Rows, sc.Columns, 3)
    viewer.show(sc)
    found = 0.0
    until = time.monotonic() + 60
    while found < ALIKE and time.monotonic() < until:
        time.sleep(1)
        shown = fitted(viewer.image_area(), sc.Rows, sc.Columns)
        found = alike(shown, frames[0])
    assert found >= ALIKE, f"the image area does not show frame 1: correlation {found:.3f}"
    others = [alike(shown, frame) for frame in frames[1:]]
    assert found > max(others, default=0.0), "another frame than the first is displayed"
    return f"correlation with frame 1 {found:.3f}, with the likest other frame {max(others, default=0.0):.3f}"


def fitted(area: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[Any]:
    """The part of an image area that an image of (rows, columns) with square pixels fills, as large as it fits."""
    scale = min(area.shape[0] / rows, area.shape[1] / columns)
    height, width = round(rows * scale), round(columns * scale)
    top, left = (area.shape[0] - height) // 2, (area.shape[1] - width) // 2
    return area[top : top + height, left : left + width]


def alike(one: Picture, other: Picture) -> float:
    """Correlation of the grey values of two pictures of any size."""
    grey = [
        np.asarray(Image.fromarray(picture).convert("L").resize((SAMPLED, SAMPLED), Image.Resampling.BOX), float)
        for picture in (one, other)
    ]
    return float(np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1])


# ------------------------------------------------------------------ the selected region
def region(viewer: Viewer, study: Study) -> str:
    """The segmentation is listed, opens over the DCE series on a slice that it holds, and lies at its millimetre."""
    assert "segmentation" in study.results, "the analysis wrote no segmentation"
    seg = study.results["segmentation"]
    viewer.show(seg)
    viewer.page.wait_for("the question whether to open the segmentation", _says(PROMPT))
    viewer.page.click("Yes")
    viewer.page.wait_for("the segmentation, opened", f"!({_says(PROMPT)})")
    until = time.monotonic() + 60
    while True:  # the viewer opens the series first and turns to the region's slice a moment later
        try:
            return _displayed_region(viewer, seg, study)
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _displayed_region(viewer: Viewer, seg: Dataset, study: Study) -> str:
    """Where the region lies on the slice that is displayed now; fails where it is none of its slices, or not there."""
    drawn = coloured(viewer.canvas())
    assert drawn.any(), "no colour lies over the grey image"
    image = _displayed_image(viewer.page, seg, study)
    seen = np.argwhere(fitted(drawn, image.Rows, image.Columns))
    scale = min(drawn.shape[0] / image.Rows, drawn.shape[1] / image.Columns)
    row, column = (seen.mean(axis=0) + 0.5) / scale - 0.5
    off = float(np.linalg.norm(_millimetres(image, column, row) - centre_of_mask(seg, image)))
    assert off < NEAR_MM, f"the region is displayed {off:.1f} mm from its place"
    return f"over image {image.InstanceNumber} of series {image.SeriesNumber}, {off:.1f} mm from its place"


def coloured(picture: Picture) -> npt.NDArray[np.bool_]:
    """(rows, columns): what is not grey, and so was drawn over a grey image."""
    return np.asarray(picture.max(axis=2).astype(int) - picture.min(axis=2) > COLOURED)


def _displayed_image(page: Page, seg: Dataset, study: Study) -> Dataset:
    """The image that the viewer says it displays, of the series under the region."""
    said = page.wait_for(
        "the number of the displayed image", f"({IMAGE_NUMBER}.exec(document.body.innerText) ?? [])[1]"
    )
    series = seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    for file in study.images:
        image = dcmread(file, stop_before_pixels=True)
        if image.SeriesInstanceUID == series and image.InstanceNumber == int(said):
            return image
    raise AssertionError(f"image {said} is not one of the series that the segmentation names")


def _millimetres(image: Dataset, column: float, row: float) -> npt.NDArray[np.float64]:
    """Pixel centres to LPS (PS3.3 C.7.6.2.1.1)."""
    along, down = np.reshape(image.ImageOrientationPatient, (2, 3)).astype(float)
    down_mm, along_mm = map(float, image.PixelSpacing)
    return np.asarray(np.array(image.ImagePositionPatient, float) + along * along_mm * column + down * down_mm * row)


def centre_of_mask(seg: Dataset, image: Dataset) -> npt.NDArray[np.float64]:
    """Centre of the segment in the plane of `image`, mm LPS; fails where the segmentation has no frame there."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    masks = np.reshape(seg.pixel_array, (-1, seg.Rows, seg.Columns))
    for frame, mask in zip(seg.PerFrameFunctionalGroupsSequence, masks, strict=True):
        plane = Dataset()
        plane.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        plane.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        plane.PixelSpacing = measures.PixelSpacing
        normal = np.cross(*np.reshape(plane.ImageOrientationPatient, (2, 3)).astype(float))
        between = np.subtract(plane.ImagePositionPatient, image.ImagePositionPatient).astype(float)
        if abs(normal @ between) < float(measures.SliceThickness) / 2 and mask.any():
            row, column = np.argwhere(mask).mean(axis=0)
            return _millimetres(plane, column, row)
    raise AssertionError("the viewer opened the segmentation on a slice that it does not hold")


def _says(words: str) -> str:
    """A JavaScript expression: whether the page displays `words`."""
    return f"document.body.innerText.includes({json.dumps(words)})"


def _plain(text: str) -> str:
    return " ".join(text.split())
