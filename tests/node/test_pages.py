"""The pages as a tired radiologist reads them: legible at 512 pixels, in every colour vision, and nothing is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

from mome_node.errors import SettingsError
from mome_node.findings import Advice, Findings, Problem, Reason
from mome_node.results import drawing, pages, planes, wording
from mome_node.results.drawing import Page
from mome_node.results.secondary_capture import build, single_frames, withdrawal
from mome_node.results.sheets import Label
from mome_node.results.sr_template import load_vocabulary
from mome_node.results.typeface import Typeface, drawable, load_typeface, refuse_unknown_letters
from mome_node.volume import Volume
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
ONE_LETTER = Path(__file__).parents[1] / "data" / "one_letter.ttf"  # drawn for these tests: a box for the letter 乳
PLAIN = Typeface()

# How deuteranopes and protanopes see: linear RGB to linear RGB (Viénot, Brettel, Mollon 1999).
COLOUR_VISION = {
    "all cones": np.eye(3),
    "deuteranopia": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    "protanopia": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
}


@dataclass(frozen=True)
class Drawn:
    """One text on a page."""

    page: int
    text: str
    x: float
    y: float
    size: int
    colour: tuple[int, int, int]
    bold: bool


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Drawn]]:
    """What is written on the pages that a test makes, in the order of writing; pages are numbered as they are begun."""
    found: list[Drawn] = []
    begun: list[int] = []
    write = Page.text

    def text(page: Page, xy: Any, words: str, size: int, colour: Any = drawing.INK, anchor: str = "la", **kind: Any):
        if id(page) not in begun:
            begun.append(id(page))
            kept.append(page)
        found.append(Drawn(begun.index(id(page)), words, xy[0], xy[1], size, colour, kind.get("bold", False)))
        return write(page, xy, words, size, colour, anchor, **kind)

    kept: list[Page] = []  # so that no two pages share an id
    monkeypatch.setattr(Page, "text", text)
    yield found


@cache
def exam() -> tuple[Volume, np.ndarray, np.ndarray]:
    dce = fixtures.volume()
    return dce, fixtures.saliency(dce), fixtures.mask(dce)


def capture(document: Findings, dce: Volume | None = None, **more: Any) -> Dataset:
    image = fixtures.source()
    pictures: tuple[Any, Any] = (None, None)
    if dce is not None:
        pictures = fixtures.saliency(dce), fixtures.mask(dce)
    elif document.score is not None:
        dce, *pictures = exam()
    evidence, identity = fixtures.evidence(image), fixtures.identity(document)
    return build(document, image, evidence, identity, VOCABULARY, dce, *pictures, **more)


def frames(ds: Dataset) -> np.ndarray:
    """(frames, rows, columns, 3)"""
    return np.frombuffer(ds.PixelData, np.uint8).reshape(-1, ds.Rows, ds.Columns, 3)


def said(drawn: list[Drawn], page: int | None = None) -> str:
    """All words of a page, or of all of them, as one text."""
    return " ".join(line.text.strip() for line in drawn if page in (None, line.page))


def oblique(degrees_about_x: float, degrees_about_z: float) -> Volume:
    """The synthetic exam on slices tilted about the patient's left-right axis and then turned about the long axis."""
    x, z = np.radians([degrees_about_x, degrees_about_z])
    tilt = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    turn = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    shape, spacing = (150, 90, 40), (2.5, 2.5, 4.0)
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt * spacing
    affine[:3, 3] = (0, -25, 0) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    points = fixtures.coordinates(affine, shape)
    spot = sum(((p - s) / 7) ** 2 for p, s in zip(points, fixtures.SPOT, strict=True)) < 1
    breasts = sum(((points[0] - s) / 55) ** 2 + (points[1] / 85) ** 2 + (points[2] / 60) ** 2 < 1 for s in (-70, 70))
    pre = 300.0 * (breasts > 0)
    return Volume(np.stack([pre, pre + 420 * spot]).astype(np.float32), affine, (0.0, 92.5))


# ------------------------------------------------------------------ legible
def test_the_smallest_letters_are_6_pixels_high_in_a_small_viewer() -> None:
    """A viewer with four windows shows the page at 512 pixels; small letters below 6 pixels are guessed, not read."""
    page = Page(PLAIN)
    page.text((100, 100), "x", drawing.SMALL)
    rows = np.flatnonzero((page.pixels() != drawing.PAPER).any(axis=(1, 2)))
    assert len(rows) * 512 / drawing.SIDE >= 6


@pytest.mark.parametrize("kind", fixtures.KINDS)
def test_nothing_is_written_smaller(kind: str, drawn: list[Drawn]) -> None:
    """A line that does not fit is broken, never shrunk."""
    capture(fixtures.KINDS[kind]())
    assert min(line.size for line in drawn) >= drawing.SMALL


def luminance(colour: tuple[int, int, int], vision: str) -> float:
    """Relative luminance (WCAG 2.2), as seen with this colour vision."""
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(np.clip(COLOUR_VISION[vision] @ linear, 0, 1) @ (0.2126, 0.7152, 0.0722))


def contrast(one: tuple[int, int, int], other: tuple[int, int, int], vision: str) -> float:
    low, high = sorted([luminance(one, vision), luminance(other, vision)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_text_and_marks_stand_out_in_every_colour_vision(vision: str) -> None:
    """One man in twelve tells red from green badly: text keeps 4.5 to 1 and marks 3 to 1 by lightness alone."""
    for background, colours in {
        drawing.PAPER: (drawing.INK, drawing.MUTED, drawing.STEEL, drawing.AMBER, drawing.WHITE),
        drawing.PANEL: (drawing.INK, drawing.MUTED, drawing.STEEL, drawing.AMBER, drawing.WHITE),
        drawing.DEEP: (drawing.INK, drawing.WHITE),
        drawing.WARNING: (drawing.AMBER,),
    }.items():
        for colour in colours:
            assert contrast(colour, background, vision) >= 4.5, (colour, background)
    assert contrast(drawing.BAR, drawing.PAPER, vision) >= 3  # the scale
    assert contrast(drawing.INK, drawing.BAR, vision) >= 3  # the score on it
    assert contrast(drawing.AMBER, drawing.BAR, vision) >= 2.5  # its operating point, which stands out over the bar too


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_more_saliency_is_lighter_and_never_grey(vision: str) -> None:
    """The colours order themselves by lightness, and none of them can be taken for tissue."""
    amounts = np.linspace(0.2, 1, 9)
    black = np.zeros((1, 9, 3), np.uint8)
    steps = [tuple(map(int, c)) for c in drawing.heated(black, amounts[None])[0]]
    seen = [luminance(step, vision) for step in steps]
    assert seen == sorted(seen)
    for red, _, blue in (np.clip(COLOUR_VISION[vision] @ (np.array(s) / 255), 0, 1) for s in steps[2:]):
        assert red - blue > 0.15


@pytest.mark.parametrize("kind", fixtures.KINDS)
def test_only_blue_grey_and_amber_outside_the_pictures(kind: str) -> None:
    """No red and no green: a colour would pass the verdict that the score does not."""
    first = frames(capture(fixtures.KINDS[kind]()))[0].astype(int)
    red, green, blue = first[..., 0], first[..., 1], first[..., 2]
    assert not ((red > green + 60) & (red > blue + 60)).any()
    assert not ((green > red + 25) & (green > blue + 25)).any()


# ------------------------------------------------------------------ the summary
def test_frame_1_is_read_from_top_to_bottom(drawn: list[Drawn]) -> None:
    """What it is, where, the score, the advice, what it rests on, what was never evaluated: in this order."""
    capture(fixtures.without("t2"))
    say = VOCABULARY.say
    order = [
        say("marking.band_research"), "Result ", say("picture.mip"), "AI score", say("score.low_end"),
        say("advice.heading"), say("advice.withheld"), f"{say('inputs.heading')}: ", "T2: MISSING",
        say("limits.no_comparison"),
    ]  # fmt: skip
    first = [line for line in drawn if line.page == 0]
    heights = [next(line.y for line in first if line.text.startswith(start)) for start in order]
    assert heights == sorted(heights)


@pytest.mark.parametrize("kind", sorted(set(fixtures.KINDS) - {"not analysed", "failed"}))
def test_frame_1_has_room_for_all_that_it_owes(kind: str, drawn: list[Drawn]) -> None:
    """A reader who never scrolls has read the status of the weights, score, advice, inputs and limits."""
    document = fixtures.KINDS[kind]()
    capture(document)
    first = said(drawn, 0)
    owed = [
        fixtures.MODEL.status, "exam of 2024-05-17", *wording.advice(document, VOCABULARY)[-1:],
        *wording.exclusions(document, VOCABULARY), "7 phases at 0, 92, 161, 230, 299, 367, 436 s",
        *(["b 800 s/mm2"] if "DWI" not in kind else []), *(m.reason for m in document.missing),
        wording.score(document, VOCABULARY), VOCABULARY.say("limits.no_comparison"),
        *(wording.operating_point(document.score, VOCABULARY)[1:2] if document.below and document.score else []),
    ]  # fmt: skip
    assert [text for text in owed if text not in first] == []
    assert "Müller" not in said(drawn)
    assert "continued" not in first.lower()


def test_the_eye_lands_on_score_and_advice(drawn: list[Drawn]) -> None:
    """The largest letters are those of the score; then comes the advice."""
    capture(fixtures.findings(advice=Advice("WITHHELD", (Reason("UNILATERAL", "Only one breast."),))))
    largest = sorted({line.size for line in drawn if line.page == 0 and len(line.text) > 1})[::-1]
    score, *_ = [line for line in drawn if line.size == largest[0]]
    advice, *_ = [line for line in drawn if line.size == largest[1] and len(line.text) > 1]
    assert score.text.startswith("AI score") and score.bold
    assert advice.text == VOCABULARY.say("advice.withheld") and advice.bold


def test_the_spread_is_drawn_where_there_was_an_augmentation(drawn: list[Drawn]) -> None:
    """How far the score moves when only the position of the same exam changes: without it nothing is drawn."""
    plain = frames(capture(fixtures.findings()))[0]
    assert "Spread" not in said(drawn)
    drawn.clear()
    document = fixtures.findings(measures={**fixtures.findings().measures, "augmentation_spread": 0.05})
    ds = capture(document)
    assert "Spread ±5.0" in said(drawn)
    bar = next(line.y for line in drawn if line.text.startswith("operating point")) - 4 - 7
    row = frames(ds)[0][round(bar)].astype(int)
    dark = np.flatnonzero((row == drawing.PAPER).all(axis=1))
    dark = dark[(dark > drawing.MARGIN) & (dark < drawing.SIDE - drawing.MARGIN)]
    low, high = (100 * (x - drawing.MARGIN) / drawing.WIDTH for x in (dark[0], dark[-1]))
    assert (low, high) == pytest.approx((68.1, 78.1), abs=0.5)
    assert (plain != frames(ds)[0]).any()


def test_what_the_checks_found_is_said_once(drawn: list[Drawn]) -> None:
    """A missing sequence is among the reasons and the inputs; a third time takes the place of something else."""
    capture(fixtures.without("dwi"))
    assert said(drawn, 0).count("No usable DWI series was received.") == 2


def test_a_replaced_result_is_told_before_anything_else(drawn: list[Drawn]) -> None:
    """Who acted on the earlier result must see at once that there is another."""
    notice = "Replaces result 1A2B3C4D of 2024-05-17. THE ADVICE HAS CHANGED."
    ds = capture(fixtures.findings(), notices=[notice])
    lines = [line for line in drawn if line.page == 0]
    told = [line for line in lines if len(line.text) > 1 and line.text in notice and line.bold]
    assert " ".join(line.text for line in told) == notice
    assert {line.colour for line in told} == {drawing.AMBER}
    assert told[0].y < next(line.y for line in lines if line.text == VOCABULARY.say("picture.mip"))
    assert (frames(ds)[0] == drawing.WARNING).all(axis=-1).sum() > 5000


# ------------------------------------------------------------------ sides and planes
def contradicted() -> Findings:
    words = "The headers say prone, the images show the breasts pointing to the back."
    code = "PATIENT_POSITION_CONTRADICTS_ANATOMY"
    return fixtures.findings(
        problems=(Problem.of(code, words),), salient=None, advice=Advice("WITHHELD", (Reason(code, words),))
    )


def test_where_the_sides_are_not_known_no_page_has_a_letter(drawn: list[Drawn]) -> None:
    """A letter on the wrong side is worse than none; that there is none is told in amber."""
    capture(contradicted())
    assert not {"R", "L", "A", "P", "H", "F"} & {line.text for line in drawn}
    warned = [line.text for line in drawn if line.page == 0 and line.colour == drawing.AMBER and line.bold]
    assert VOCABULARY.say("picture.no_saliency_sides_unknown").startswith(warned[0])


@pytest.mark.parametrize("plane", fixtures.AXES)
def test_letters_stand_at_their_edges(plane: str, drawn: list[Drawn]) -> None:
    """Right of the patient on the left, anterior or head above, however rows and columns were stored."""
    capture(fixtures.findings(), fixtures.volume(plane))
    left, right, top, bottom = {"sag": "APHF", "cor": "RLHF"}.get(plane[:3], "RLAP")
    slices = {line.page for line in drawn if line.text.startswith("Slice ")}
    for page in slices:
        at = {line.text: line for line in drawn if line.page == page and line.text in (left, right, top, bottom)}
        assert at[left].x < at[top].x == at[bottom].x < at[right].x
        assert at[top].y < at[left].y == at[right].y < at[bottom].y
    first = {line.text: line.x for line in drawn if line.page == 0 and line.text in ("R", "L")}
    assert first["R"] < first["L"]
    assert slices


def test_a_sagittal_slice_says_its_side(drawn: list[Drawn]) -> None:
    """Its edges are A, P, H and F: which breast it is of, they do not tell."""
    capture(fixtures.findings(), fixtures.volume("sagittal"))
    for page in {line.page for line in drawn if line.text.startswith("Slice ")}:
        title = next(line.text for line in drawn if line.page == page and line.text.startswith("Slice "))
        letters = {line.text for line in drawn if line.page == page and len(line.text) == 1}
        assert letters == {"A", "P", "H", "F", "R" if ", R " in title else "L"}


def test_a_slice_of_the_middle_is_of_neither_side() -> None:
    """Within 20 mm of the middle the sign of a coordinate says nothing of a breast."""
    dce = fixtures.volume("sagittal")
    axes = planes.patient_axes(dce.affine)
    sides = [planes.side(dce, axes, k, 20) for k in range(dce.voxels.shape[3])]
    assert {"", "right", "left"} == set(sides)
    for k, side in enumerate(sides):
        x = dce.to_patient(np.array([[0, 0, k]]))[0, 0]
        assert side == ("" if abs(x) < 20 else "left" if x > 0 else "right")


def test_oblique_slices_name_both_directions(drawn: list[Drawn]) -> None:
    """A tilted slice that is lettered like an upright one would show the wrong way into the patient."""
    capture(fixtures.findings(), oblique(22, 0))
    letters = {line.text for line in drawn if line.size == drawing.HEADING and len(line.text) < 4}
    assert {"R", "L", "AF", "PH"} <= letters
    assert ", tilted 22°" in said(drawn)
    assert planes.edges(oblique(22, 25).affine) == ("RA", "LP", "ALF", "PRH")
    assert planes.edges(oblique(6, 0).affine) == ("R", "L", "A", "P")


def test_the_projection_of_an_oblique_scan_lies_along_the_patient() -> None:
    """Frame 1 looks alike in every exam: the spot stands where its x and y say, not where its voxel indices do."""
    dce = oblique(22, 25)
    turned, spacing = planes.upright(planes.subtraction(dce), dce.affine)
    picture = turned.max(axis=2)
    assert picture.max() > 200
    found = np.array(ndimage.center_of_mass(picture > picture.max() / 2)) * spacing[:2]
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in dce.voxels.shape[1:]])).reshape(3, -1).T
    origin = dce.to_patient(corners).min(axis=0)[:2]
    assert found + origin == pytest.approx(fixtures.SPOT[:2], abs=2.5)


def test_the_hottest_pixel_of_a_double_oblique_slice_lies_at_its_millimetre() -> None:
    """Three fiducials of different sizes on the hottest slice give the way from pixels back to voxels, then to mm."""
    dce = oblique(22, 25)
    dce = replace(dce, voxels=np.zeros_like(dce.voxels))
    hot = np.array([70, 40, 18])
    corners = {1: np.array([40, 25]), 2: np.array([100, 30]), 3: np.array([50, 70])}  # first voxel of n x n
    for n, (i, j) in corners.items():
        dce.voxels[1, i : i + n, j : j + n, hot[2]] = 1000
    saliency = np.zeros(dce.voxels.shape[1:], np.float32)
    saliency[tuple(hot)] = 1
    document = fixtures.findings()
    ds = build(document, fixtures.source(), fixtures.evidence(), fixtures.identity(document), VOCABULARY,
               dce, saliency, np.ones(saliency.shape, bool))  # fmt: skip
    frame = frames(ds)[list(ds.FrameLabelVector).index("SALIENCY")].astype(int)
    warmth = ndimage.gaussian_filter((frame[..., 0] - frame[..., 2]).astype(float), 1.0)
    warmth[:, :] = np.where(np.arange(drawing.SIDE)[:, None] < drawing.BOTTOM - 80, warmth, 0)  # without the legend
    glow = np.array(ndimage.center_of_mass(warmth > warmth.max() / 2))
    black = ndimage.find_objects(ndimage.label((frame == 0).all(axis=2))[0])
    picture = next(
        box for box in sorted(black, key=lambda b: -(b[0].stop - b[0].start) * (b[1].stop - b[1].start))
        if box[0].start <= glow[0] < box[0].stop and box[1].start <= glow[1] < box[1].stop
    )  # fmt: skip
    bright = np.zeros(frame.shape[:2], bool)
    bright[picture] = (frame[picture].min(axis=2) > 200) & (np.ptp(frame[picture], axis=2) < 3)
    spots, count = ndimage.label(bright)
    sizes = {n: int((spots == n).sum()) for n in range(1, count + 1)}
    letters = {n for n in sizes if (frame[spots == n] == drawing.INK).all(axis=1).any()}
    ordered = sorted(set(sizes) - letters, key=lambda n: sizes[n])[-3:]
    pixels = np.array([ndimage.center_of_mass(spots == n) for n in ordered])
    voxels = np.array([corners[n] + (n - 1) / 2 for n in (1, 2, 3)])
    way = np.linalg.solve(np.column_stack([pixels, np.ones(3)]), voxels)
    found = dce.to_patient(np.array([[*(np.array([*glow, 1]) @ way), hot[2]]]))[0]
    assert np.linalg.norm(found - dce.to_patient(hot[None])[0]) < 1.5


# ------------------------------------------------------------------ nothing is cut
def test_every_word_of_many_reasons_is_drawn(drawn: list[Drawn]) -> None:
    """Ten reasons to withhold advice are ten; what does not fit goes on to the next page, and the page says so."""
    reasons = tuple(Reason("UNILATERAL", f"Reason {n}: {'a long explanation ' * 8}end {n}.") for n in range(10))
    capture(fixtures.findings(advice=Advice("WITHHELD", reasons)))
    head = ("Research use", "trained on", VOCABULARY.say("marking.band_research"), "Result ", "Continued")
    text = " ".join(line.text for line in drawn if not line.text.startswith(head))
    assert all(reason.text in text for reason in reasons)
    assert "Continued on frame 2." in said(drawn, 0)


def test_a_short_paragraph_is_not_torn_apart(drawn: list[Drawn]) -> None:
    """Half of the inputs on one page and half on the next is read as half of the inputs."""
    reasons = tuple(Reason("UNILATERAL", f"Reason {n} is of one line.") for n in range(4))
    for many in range(1, 5):
        drawn.clear()
        capture(fixtures.findings(advice=Advice("WITHHELD", reasons[:many])))
        inputs = next(n for n, line in enumerate(drawn) if line.text == f"{VOCABULARY.say('inputs.heading')}: ")
        end = next(n for n, line in enumerate(drawn) if "fat suppressed" in f"{drawn[n - 1].text} {line.text}")
        assert len({line.page for line in drawn[inputs : end + 1]}) == 1


def test_long_words_break_within_the_page() -> None:
    """Series names and German nouns have no spaces; they break after a sign, else where the line ends."""
    name = "t1_fl3d_tra_dynaVIEWS_spair_1+6_SUB_MIP_TRA"
    lines = PLAIN.wrapped(name, 17, 160)
    assert "".join(lines) == name
    assert all(line.endswith("_") for line in lines[:-1])
    german = "Magnetresonanzmammographieuntersuchungsbefund " * 3
    for text in (german, "quantité d'antécédents inhabituellement élevée", "乳" * 90, name * 3):
        lines = PLAIN.wrapped(text, 17, 200)
        assert all(PLAIN.length(line, 17) <= 200 for line in lines)
        assert "".join("".join(lines).split()) == "".join(text.split())
    assert PLAIN.wrapped("", 17, 200) == []


def test_a_long_band_is_broken_not_shrunk(drawn: list[Drawn]) -> None:
    """Other languages need more words for what kind of object this is."""
    page = Page(PLAIN)
    text = "KI-ERGEBNIS AUS DER FORSCHUNG - KEIN BEFUND UND NICHT ZUR KLINISCHEN ANWENDUNG BESTIMMT"
    below = page.band(text, "Ergebnis 1A2B3C4D, Untersuchung vom 2024-05-17.", drawing.TOP)
    assert said(drawn).startswith(text)
    assert max(line.y for line in drawn) < below
    assert all(line.x >= drawing.MARGIN and PLAIN.length(line.text, line.size, line.bold) <= drawing.WIDTH - 20
               for line in drawn)  # fmt: skip


def test_the_waterfall_is_the_last_frame(drawn: list[Drawn]) -> None:
    """Details that take more room come before it: readers look for the contributions at the end."""
    used = replace(fixtures.USED[0], description="t1_fl3d_tra_dynaVIEWS_" * 40)
    ds = capture(fixtures.findings(used=(used, *fixtures.USED[1:])))
    assert list(ds.FrameLabelVector)[-1] == "CONTRIBUTIONS"
    assert "DETAILS" in ds.FrameLabelVector
    last = max(line.page for line in drawn if line.text == VOCABULARY.say("contributions.heading"))
    assert VOCABULARY.say("contributions.total") in said(drawn, last)


# ------------------------------------------------------------------ letters of the world
def test_letters_of_europe_are_drawn_as_they_are() -> None:
    """The font comes with the software; accents, Greek and Cyrillic are letters, not decoration."""
    text = "Größe à été Šé ł ő Ångström Μαστός молочная железа ≤ ±"
    assert drawable(text, PLAIN) == text


def test_letters_that_no_font_has_are_told_apart_from_empty_boxes() -> None:
    """A question mark is honest, an empty box is not; a full-width letter has a plain form."""
    assert drawable("造影 T１\x07", PLAIN) == "?? T1?"


def test_a_site_names_a_font_for_its_script() -> None:
    """Chinese, Japanese and Korean need a font of several megabytes; a site that writes in them has one."""
    own = load_typeface(ONE_LETTER)
    assert drawable("乳 MRI", own) == "乳 MRI"
    assert [run for run, _ in own.runs("MRI 乳乳 MRI", 17)] == ["MRI ", "乳乳", " MRI"]
    page = Page(own)
    page.text((100, 100), "乳", 30)
    assert (page.pixels() != drawing.PAPER).any(axis=2).sum() > 600
    assert own.wrapped("乳" * 30, 20, 205) == ["乳" * 10] * 3


def test_words_that_no_font_can_write_stop_the_node_at_its_start() -> None:
    """Otherwise a page of question marks would be the first that anyone hears of it."""
    refuse_unknown_letters(["MRI 乳?", "à"], load_typeface(ONE_LETTER))
    refuse_unknown_letters(VOCABULARY.words.values(), PLAIN)
    with pytest.raises(SettingsError, match=r"no font has 2 of their letters, e\.g\. 影造"):
        refuse_unknown_letters(["造影 乳", "造"], load_typeface(ONE_LETTER))


def test_another_font_is_another_object() -> None:
    """Its letters are in the pixels, and an archive keeps the old pixels under an old UID."""
    ours, theirs = capture(fixtures.refused()), capture(fixtures.refused(), typeface=load_typeface(ONE_LETTER))
    assert ours.SOPInstanceUID != theirs.SOPInstanceUID
    assert ours.SeriesInstanceUID != theirs.SeriesInstanceUID


def test_a_font_that_cannot_be_used_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """At start, not when a result is due."""
    broken = tmp_path / "font.ttf"
    broken.write_bytes(b"no font")
    for path in (broken, tmp_path / "absent.ttf"):
        with pytest.raises(SettingsError, match="cannot be used"):
            load_typeface(path)


# ------------------------------------------------------------------ withdrawn, and one by one
def test_a_withdrawn_result_says_so_in_large_letters(drawn: list[Drawn]) -> None:
    """Which result, when, why, and what to do: in an archive that goes on showing the rejected pages."""
    notice = ["AI result 1A2B3C4D of 2024-05-17 10:20 is withdrawn.", "Reason: the phases were in the wrong order."]
    (page,) = pages.withdrawn(notice, Label("1A2B3C4D", "2024-05-17"), VOCABULARY)
    largest = max(drawn, key=lambda line: line.size)
    assert largest.text == "WITHDRAWN"
    assert all(line in said(drawn) for line in (*notice, "Do not use the earlier result."))
    assert (page.pixels()[: drawing.TOP] == drawing.PAPER).all()


@pytest.mark.system
def test_judges_accept_a_withdrawal(tmp_path: Path) -> None:
    """It lies in a series of its own: beside the withdrawn pages it would be taken for one of them."""
    document, source = fixtures.findings(), fixtures.source()
    ds = withdrawal(document, source, fixtures.identity(document), VOCABULARY, "1A2B3C4D", ["Withdrawn."])
    fixtures.saved(ds, tmp_path / "withdrawn.dcm")
    assert judges.judge(tmp_path / "withdrawn.dcm", source) == []
    assert ds.SeriesInstanceUID != capture(document).SeriesInstanceUID


def test_single_frames_are_the_same_pages_one_by_one() -> None:
    """For archives without multi-frame captures: one series, numbered, each with a UID of its own, nothing lost."""
    whole = capture(fixtures.findings())
    alone = single_frames(whole)
    assert [one.InstanceNumber for one in alone] == list(range(1, whole.NumberOfFrames + 1))
    assert b"".join(one.PixelData for one in alone) == whole.PixelData
    assert len({one.SOPInstanceUID for one in alone} | {whole.SOPInstanceUID}) == len(alone) + 1
    assert {one.SeriesInstanceUID for one in alone} & {whole.SeriesInstanceUID} == set()
    assert len({one.SeriesInstanceUID for one in alone}) == 1
    assert [one.SOPInstanceUID for one in single_frames(whole)] == [one.SOPInstanceUID for one in alone]
    assert whole.NumberOfFrames == len(frames(whole))  # and the whole is untouched


@pytest.mark.system
@pytest.mark.parametrize("kind", ["complete", "not analysed"])
def test_judges_accept_single_frames(kind: str, tmp_path: Path) -> None:
    """First and last: pages of one kind."""
    alone = single_frames(capture(fixtures.KINDS[kind]()))
    for ds in {id(ds): ds for ds in (alone[0], alone[-1])}.values():
        fixtures.saved(ds, tmp_path / "frame.dcm")
        assert judges.judge(tmp_path / "frame.dcm", fixtures.source()) == []
