"""Left is left: from the headers of any position, plane and row order to a point in the patient, or to no side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from mome.card import demonstration_card
from mome.config import PreprocessingConfig
from mome.model import load
from mome.phantom import exam
from mome.preprocessing import prepare
from mome_node import pipeline
from mome_node.analysis import explanation, headers, slice_geometry, volumes
from mome_node.analysis.inference import ComputeChild, ModelInUse, load_volumes, save_volumes
from mome_node.analysis.series_grouping import group
from mome_node.findings import Findings, ModelCard, Problem
from mome_node.results import secondary_capture
from mome_node.results.sr_template import load_vocabulary
from mome_node.settings import Model as ModelSettings
from mome_node.settings import Settings
from mome_node.study import Study
from mome_node.volume import FloatArray, Volume
from tests.node import result_fixtures as fixtures
from tests.node.plain_study import study, uid
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


def item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, [value] if keyword.endswith("Sequence") else value)
    return ds


def sent(dce: Volume, folder: Path, *, split: bool) -> Study:
    """The headers of a dynamic whose slices are stored as they were scanned, as Enhanced MR objects.

    `split`: a series and an object for each phase, else one of both for all.
    """
    folder.mkdir()
    phases = range(len(dce.voxels))
    series = [[phase] for phase in phases] if split else [list(phases)]
    paths = [folder / f"{number}.dcm" for number in range(len(series))]
    for number, path in enumerate(paths):
        multi_frame(dce, series[number], number).save_as(path, enforce_file_format=True)
    (whole,), unusable = headers.read_files(paths)
    assert unusable == []
    return whole


def multi_frame(dce: Volume, phases: Sequence[int], number: int) -> Dataset:
    row, column = (dce.affine[:3, axis] / dce.spacing[axis] for axis in (0, 1))
    ds = item(
        SOPClassUID=EnhancedMRImageStorage,
        SOPInstanceUID=uid("object", number),
        SeriesInstanceUID=uid("series", number),
        StudyInstanceUID=uid("study"),
        FrameOfReferenceUID=uid("frame of reference"),
        Modality="MR",
        BodyPartExamined="BREAST",
        PatientName="Synthetic",
        PatientID="1",
        SeriesDescription="t1_fl3d_dyn",
        SeriesNumber=number + 1,
        ImageType=["ORIGINAL", "PRIMARY", "T1", "NONE"],
        AcquisitionContrast="T1",
    )
    ds.Rows, ds.Columns = dce.voxels.shape[2], dce.voxels.shape[1]
    ds.NumberOfFrames = len(phases) * dce.voxels.shape[3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    measures = item(PixelSpacing=[float(dce.spacing[1]), float(dce.spacing[0])], SliceThickness=float(dce.spacing[2]))
    shared = item(
        PixelMeasuresSequence=measures,
        PlaneOrientationSequence=item(ImageOrientationPatient=[float(v) for v in (*row, *column)]),
        MRTimingAndRelatedParametersSequence=item(RepetitionTime=4.5, FlipAngle=10),
        MREchoSequence=item(EffectiveEchoTime=1.8),
        MRModifierSequence=item(SpectrallySelectedSuppression="FAT"),
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=item(
                ImagePositionPatient=[round(float(v), 4) for v in dce.affine[:3] @ (0, 0, k, 1)]
            ),
            FrameContentSequence=item(FrameAcquisitionDateTime=f"2026010110{phase:02d}00"),
        )
        for phase in phases
        for k in range(dce.voxels.shape[3])
    ]
    ds.PixelData = dce.voxels[list(phases)].transpose(0, 3, 2, 1).astype("<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phantoms of few pixels are let in: what counts here is where they lie."""
    monkeypatch.setattr(volumes, "SMALLEST_MATRIX", 16)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("flipped", [False, True], ids=["rows", "rows flipped"])
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("side", SIDES)
def test_a_lesion_comes_out_on_its_side(
    planted: Planted, tmp_path: Path, side: str, position: str, plane: str, flipped: bool
) -> None:
    """From files through grouping, volumes, the model's crop and canvas, and back, however the phases were split into
    series: the hottest voxel is the one at the lesion's centre."""
    voxels, affine, centre = planted[side]
    scan = scanned(voxels, affine, position, plane, flipped)
    built = []
    for split in (True, False):
        whole = sent(scan, tmp_path / str(split), split=split)
        built.append(volumes.build(whole, group(whole))[0]["dce"])
    assert np.array_equal(built[0].voxels, built[1].voxels)
    assert np.array_equal(built[0].affine, built[1].affine)
    dce = built[0]
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
HALF_A_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.usefixtures("coarse")
def test_a_patient_registered_on_the_wrong_side_is_scored_and_nothing_else(tmp_path: Path) -> None:
    """Prone, registered as supine: the model is shown the patient turned round, so that the score is that of the exam.

    Left and right are exchanged in every header: no result names a side or a place, and there is no advice.
    """
    made, work = exam(SIDES["left"]).inputs["dce"], tmp_path / "work"
    backwards = Volume(made.voxels * 20, HALF_A_TURN @ made.affine)
    with ComputeChild(ModelSettings(threads=1)) as compute:
        context = pipeline.Context(Settings(), compute.model, compute)
        pipeline.prepare(work, sent(backwards, tmp_path / "sent", split=False))
        for stage in pipeline.STAGES:
            stage(work, context)
        found = pipeline.load_findings(work)
        upright = tmp_path / "upright"
        upright.mkdir()
        dce = load_volumes(work / "volumes.npz")["dce"]
        save_volumes(upright / "volumes.npz", {"dce": replace(dce, affine=HALF_A_TURN @ dce.affine)})
        compute.predict(upright)
    assert CONTRADICTION.code in {problem.code for problem in found.problems}
    assert found.status == "analysed"
    assert found.score is not None
    assert found.score.score == pytest.approx(json.loads((upright / "prediction.json").read_text())["score"], abs=1e-6)
    assert found.salient is None
    assert found.advice is not None
    assert found.advice.value == "WITHHELD"
    assert CONTRADICTION.code in {reason.code for reason in found.advice.reasons}
    with np.load(work / "evidence.npz") as turned, np.load(upright / "evidence.npz") as right:
        assert np.allclose(turned["mask.affine"], HALF_A_TURN @ right["mask.affine"])
    with np.load(work / "pictures.npz") as pictures:
        assert pictures["mask"].any()  # it lies over the breasts as they are registered


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
