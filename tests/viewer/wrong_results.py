"""Pictures of wrong results, for docs/for-radiologists.md: synthetic patients on whom the demonstration weights fail.

    python -m tests.viewer.wrong_results docs/images

Each picture holds what the radiologist would see, and beside it the planted synthetic lesion with a ring around it. The
seeds were found by scoring the synthetic exams 1 to 300. The command fails where a result is no longer wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.dataset import Dataset

from mome_node.analyze import analyze_folder
from mome_node.findings import Findings
from mome_node.phantom import Written, write_study
from mome_node.settings import Model, Results, Settings

SETTINGS = Settings(model=Model(threads=1), results=Results(demonstrate_advice=True))
PRE, FIRST_POST = "005", "006"  # folders of the phantom are named after SeriesNumber
HALF = 560  # width of each half of a picture, pixels
NOISE = 0.12  # of white: darker is black
RING_MM = 22.0  # larger than any planted lesion
OTHER_BREAST_MM = 100.0  # no lesion reaches from one breast into the other
COLOURS = 192  # of the PNG's palette: small files, legible text


@dataclass(frozen=True, slots=True)
class Case:
    """A synthetic patient, and in what way the result about her is wrong."""

    name: str
    seed: int
    is_wrong: Callable[[Findings, Written], bool]
    shown: str  # "SUMMARY" or "SALIENCY": which frame of the overlay


def low_cancer(findings: Findings, truth: Written) -> bool:
    return truth.malignant and findings.advice is not None and findings.advice.value == "CANDIDATE"


def high_benign(findings: Findings, truth: Written) -> bool:
    return not truth.malignant and findings.score is not None and findings.score.score > 0.8


def other_breast(findings: Findings, truth: Written) -> bool:
    return truth.malignant and _distance(findings, truth) > OTHER_BREAST_MM


CASES = (
    Case("wrong-low", 115, low_cancer, "SUMMARY"),
    Case("wrong-high", 96, high_benign, "SUMMARY"),
    Case("wrong-place", 10, other_breast, "SALIENCY"),
)


def main(out: Path) -> None:
    """The three pictures, and a line for each on what it shows."""
    out.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            findings, truth, picture = made(case, Path(scratch))
        assert findings.score is not None
        assert case.is_wrong(findings, truth), f"{case.name}: the result of seed {case.seed} is no longer wrong"
        picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            out / f"{case.name}.png", optimize=True
        )
        print(
            f"{case.name}: synthetic patient {case.seed}, {'cancer' if truth.malignant else 'no cancer'} planted, "
            f"score {100 * findings.score.score:.1f} of 100, {findings.advice.value if findings.advice else '-'}; "
            f"highest saliency {_distance(findings, truth):.0f} mm from the lesion; "
            f"the best possible reader: {1 / (1 + np.exp(-truth.log_odds['all'])):.1%} sure of cancer"
        )


def made(case: Case, scratch: Path) -> tuple[Findings, Written, Image.Image]:
    truth = write_study(scratch / "images", case.seed)
    (outcome,) = analyze_folder(scratch / "images", scratch / "results", SETTINGS, say=lambda _: None)
    assert outcome.folder is not None, outcome.words
    findings = Findings.from_json((outcome.folder / "findings.json").read_text(encoding="utf-8"))
    page = frame(dcmread(outcome.folder / "overlay.dcm"), case.shown, findings)
    return findings, truth, beside(page, lesion(truth))


def frame(overlay: Dataset, label: str, findings: Findings) -> Image.Image:
    """The first frame of that label; of the salient slices the one with the highest saliency."""
    pages = np.frombuffer(overlay.PixelData, np.uint8).reshape(-1, overlay.Rows, overlay.Columns, 3)
    labelled = [page for page, name in zip(pages, overlay.FrameLabelVector, strict=True) if name == label]
    return Image.fromarray(max(labelled, key=_glow) if label == "SALIENCY" else labelled[0])


def _glow(page: npt.NDArray[np.uint8]) -> float:
    """How much of the page has the colour of high saliency: red and green, no blue."""
    red, green, blue = (page[..., n].astype(int) for n in range(3))
    return float(((red - blue > 100) & (green - blue > 100)).sum())


def lesion(truth: Written) -> Image.Image:
    """The first subtraction slice through the planted lesion, windowed to it, with a ring around it."""
    pre, post = (_nearest(truth, series) for series in (PRE, FIRST_POST))
    difference = post.pixel_array.astype(float) - pre.pixel_array
    mm = float(post.PixelSpacing[0])
    x, y = ((truth.lesion_mm[n] - float(post.ImagePositionPatient[n])) / mm for n in range(2))
    rows, columns = np.indices(difference.shape)
    white = 1.5 * np.percentile(difference[np.hypot(columns - x, rows - y) * mm < RING_MM / 2], 95)
    grey = np.clip((difference / white - NOISE) / (1 - NOISE), 0, 1) * 255
    top, bottom = max(0, round(y - 80 / mm)), round(y + 85 / mm)
    scale = HALF / post.Columns
    cut = Image.fromarray(grey.astype(np.uint8)[top:bottom])
    picture = cut.resize((HALF, round(cut.height * scale)), Image.Resampling.BICUBIC).convert("RGB")
    x, y, radius = (x + 0.5) * scale, (y - top + 0.5) * scale, RING_MM / mm * scale
    pen = ImageDraw.Draw(picture)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(240, 190, 90), width=3)
    for at, letter in ((14, "R"), (HALF - 30, "L")):
        pen.text((at, 10), letter, fill="white", font=ImageFont.load_default(24))
    return picture


def _nearest(truth: Written, series: str) -> Dataset:
    slices = [dcmread(file) for file in truth.files if file.parent.name == series]
    return min(slices, key=lambda image: abs(float(image.ImagePositionPatient[2]) - truth.lesion_mm[2]))


def beside(page: Image.Image, planted: Image.Image) -> Image.Image:
    """Left what the radiologist sees, without its margins, right what was planted."""
    paper = page.getpixel((0, 0))
    drawn = ImageChops.difference(page, Image.new("RGB", page.size, paper)).getbbox()
    assert drawn, "the page is empty"
    left, top, right, bottom = drawn
    page = page.crop((left - 12, top - 12, right + 12, bottom + 12))
    page = page.resize((HALF, round(page.height * HALF / page.width)), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (2 * HALF, max(page.height, planted.height + 60)), paper)
    whole.paste(page, (0, 0))
    whole.paste(planted, (HALF, 12))
    words = "Synthetic. Ring: where the lesion was planted (not part of the result)."
    ImageDraw.Draw(whole).text((HALF + 14, planted.height + 24), words, font=ImageFont.load_default(16))
    return whole


def _distance(findings: Findings, truth: Written) -> float:
    """Millimetres from the planted lesion to the highest saliency."""
    assert findings.salient is not None
    return float(np.linalg.norm(np.subtract(findings.salient.point, truth.lesion_mm)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
