"""Left is left: from the headers of any position, plane and row order to a point in the patient, or to no side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mome.card import demonstration_card
from mome.config import PreprocessingConfig
from mome.model import load
from mome.phantom import exam
from mome.preprocessing import prepare
from mome_node import pipeline
from mome_node.analysis import explanation, slice_geometry
from mome_node.analysis.inference import ModelInUse, save_volumes
from mome_node.findings import Findings, ModelCard, Problem
from mome_node.results import secondary_capture
from mome_node.results.sr_template import load_vocabulary
from mome_node.settings import Settings
from mome_node.volume import FloatArray, Volume
from tests.node import result_fixtures as fixtures
from tests.node.plain_study import study
from tests.node.test_volumes import dynamic

POSITIONS = {  # of the patient in the scanner: the patient axes L, P, H along which the scanner's X, Y, Z run
    "HFS": np.diag([1, 1, 1]),
    "HFP": np.diag([-1, -1, 1]),
    "FFS": np.diag([-1, 1, -1]),
    "FFP": np.diag([1, -1, -1]),
}
PLANES = {"axial": ((1, 0, 0), (0, 1, 0)), "coronal": ((1, 0, 0), (0, 0, -1)), "sagittal": ((0, 1, 0), (0, 0, -1))}
SIDES = {"left": 1_000_001, "right": 1_000_000}  # seeds of phantoms with their one lesion there
UNCLIPPED = PreprocessingConfig(clip=None)  # a bright spot stays a spot
Planted = Mapping[str, tuple[FloatArray, FloatArray, FloatArray]]


@pytest.fixture(scope="module")
def planted() -> Planted:
    """By side: phases (3, W, H, D) of a synthetic exam whose lesion has a bright centre, their affine, that centre."""
    exams = {}
    for side, seed in SIDES.items():
        made = exam(seed)
        dce, centre = Volume(made.dce.voxels[:3].copy(), made.dce.affine), made.lesions[0].centre
        assert (centre[0] > 0) == (side == "left")  # LPS: x grows to the left
        voxel = np.indices(dce.voxels.shape[1:]).reshape(3, -1).T
        apart = np.linalg.norm(dce.to_patient(voxel) - centre, axis=1).reshape(dce.voxels.shape[1:])
        dce.voxels[1:] += 20 * dce.voxels.max() * np.exp(-((apart / 8) ** 2))
        exams[side] = dce.voxels, dce.affine, centre
    return exams


def scanned(voxels: FloatArray, affine: FloatArray, position: str, plane: str, flipped: bool) -> Volume:
    """A phantom (C, W, H, D) along the patient axes, as the node builds it from the images of a scan.

    The scanner fixes rows, columns and slices in its own axes; the headers state them in those of the patient.
    """
    row, column = (POSITIONS[position] @ np.array(line) for line in PLANES[plane])
    column = -column if flipped else column
    directions = np.stack([row, column, np.cross(row, column)], axis=1)  # (3, 3): of i, j, k
    order = np.abs(directions).argmax(axis=0)
    signs = directions.sum(axis=0)
    stored = np.transpose(voxels, (0, *(order + 1)))[(slice(None), *(slice(None, None, s) for s in signs))]
    corner = [0 if signs[list(order).index(axis)] > 0 else voxels.shape[axis + 1] - 1 for axis in range(3)]
    first = affine[:3, :3] @ corner + affine[:3, 3]
    spacing = np.diag(affine)[order]
    positions = first + np.arange(stored.shape[3])[:, None] * spacing[2] * directions[:, 2]
    placed = slice_geometry.affine([*row, *column], positions, [spacing[1], spacing[0]])
    return Volume(stored, placed)


@pytest.mark.parametrize("flipped", [False, True], ids=["rows", "rows flipped"])
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("side", SIDES)
def test_a_lesion_comes_out_on_its_side(planted: Planted, side: str, position: str, plane: str, flipped: bool) -> None:
    """Through headers, the model's crop and canvas, and back: the hottest voxel is the one at the lesion's centre."""
    voxels, affine, centre = planted[side]
    dce = scanned(voxels, affine, position, plane, flipped)
    canvas = prepare({"dce": dce}, UNCLIPPED)
    evidence = {"saliency": canvas.arrays["dce"].mean(axis=0), "mask": canvas.mask.astype(np.float32)}
    evidence |= {f"{name}.affine": canvas.affines["dce"] for name in ("saliency", "mask")}
    place = explanation.most_salient(explanation.map_evidence(evidence, dce)["saliency"], dce)
    assert place is not None
    assert (place.point[0] > 0) == (side == "left")
    assert (np.abs(place.point - centre) <= np.diag(affine)[:3]).all()  # within a voxel
    assert dce.to_voxels(np.array([place.point]))[0, 2] == pytest.approx(place.slice_index)


def test_the_network_does_not_depend_on_how_slices_are_stored() -> None:
    """The same patient lying otherwise in the scanner, scanned in another plane: the same score, the same place."""
    model, inputs = load(threads=1), exam(31).inputs
    found = []
    for position, plane, flipped in (("HFP", "axial", False), ("FFS", "sagittal", True)):
        turned = {role: scanned(v.voxels, v.affine, position, plane, flipped) for role, v in inputs.items()}
        finding = next(iter(model.predict(turned)))
        arrays = {name: array for name, (array, _) in finding.evidence.items()}
        arrays |= {f"{name}.affine": affine for name, (_, affine) in finding.evidence.items()}
        saliency = explanation.map_evidence(arrays, turned["dce"])["saliency"]
        place = explanation.most_salient(saliency, turned["dce"])
        assert place is not None
        found.append((finding.score, *place.point))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


# ------------------------------------------------------------------ where the sides are not known
CONTRADICTION = Problem.of("PATIENT_POSITION_CONTRADICTS_ANATOMY", "The breasts point to the patient's back.")


def test_a_contradiction_of_anatomy_leaves_no_side() -> None:
    assert fixtures.findings().sides_known
    assert not fixtures.findings(problems=(CONTRADICTION,)).sides_known


def test_no_page_names_a_side_or_a_place_that_is_not_known() -> None:
    """No letters, no slices with a place, no orientation for a viewer to write letters from; the page says why."""
    vocabulary = load_vocabulary()
    words = {key: text for key, text in vocabulary.words.items() if key not in ("picture.left", "picture.right")}
    document = fixtures.findings(problems=(CONTRADICTION,), salient=None)
    dce = fixtures.volume()
    pictures = dce, fixtures.saliency(dce), fixtures.mask(dce)

    def capture(found: Findings, words: Mapping[str, str]) -> Dataset:
        said = replace(vocabulary, words=words)
        image = fixtures.source()
        return secondary_capture.build(
            found, image, fixtures.evidence(image), fixtures.identity(found), said, *pictures
        )

    silent = capture(document, words)  # a letter that is not among the words cannot be drawn
    assert "SALIENCY" not in silent.FrameLabelVector
    assert not silent.PatientOrientation
    reason = {**words, "picture.no_saliency_sides_unknown": ""}
    assert capture(document, reason).PixelData != silent.PixelData
    with pytest.raises(KeyError, match=r"picture\.right"):
        capture(fixtures.findings(), words)


@pytest.mark.parametrize("known", [True, False])
def test_findings_hold_a_place_only_where_the_sides_are_known(tmp_path: Path, known: bool) -> None:
    """The score is of the whole exam and stays; the point in the patient would be a point in somebody else."""
    work, context = tmp_path / "work", pipeline.Context(Settings(), ModelInUse(card(), "cpu"))
    pipeline.prepare(work, study(dynamic(tmp_path)))
    pipeline.group_series(work, context)
    dce = Volume(np.ones((4, 8, 8, 4), np.float32), np.diag([4.0, 4.0, 5.0, 1.0]))
    save_volumes(work / "volumes.npz", {"dce": dce})
    problems = [] if known else [{"code": CONTRADICTION.code, "severity": "warning", "message": "x", "series": []}]
    (work / "quality.json").write_text(json.dumps({"measures": {"protrusion_mm": -60.0}, "problems": problems}))
    predicted = {"target": "malignancy", "score": 0.4, "baseline": 0.5, "contributions": {"dce": -0.1}}
    made = {"sequences": ["dce"], "augmentation": "none", "numeric_type": "float32", "preprocessing": "-"}
    measures = {"mask_volume_ml": 9000.0}
    document = {**predicted, "coalitions": {"dce": 0.4}, "made": made, "measures": measures}
    (work / "prediction.json").write_text(json.dumps(document))
    spot = np.zeros((8, 8, 4), np.float32)
    spot[2, 3, 1] = 1
    affines = {f"{name}.affine": dce.affine for name in ("saliency", "mask")}
    np.savez(work / "evidence.npz", saliency=spot, mask=np.ones_like(spot), **affines)
    pipeline.conclude(work, context)
    found = pipeline.load_findings(work)
    assert found.score is not None
    assert (found.salient is not None) == known
    assert found.measures["protrusion_mm"] == -60
    assert "BREAST_MASK_UNUSUAL" in {problem.code for problem in found.problems}  # of a measure of the model


def card() -> ModelCard:
    """Of a model that knows which volumes of its mask are usual."""
    record = demonstration_card(UNCLIPPED, [], single=1, several=0, evaluated=0, recipe={})
    limits = {"mask_volume_ml": {"low": 200.0, "high": 2500.0}}
    return ModelCard.from_json({**record, "weights_sha256": "0" * 64, "quality_limits": limits})
