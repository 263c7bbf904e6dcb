"""Synthetic findings, headers and volumes from which the results under test are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from mome_node.analysis.explanation import most_salient
from mome_node.findings import (
    Advice,
    ExamScore,
    Findings,
    InputMissing,
    InputUsed,
    ModelIdentity,
    OperatingPoint,
    Problem,
    Reason,
    SalientPlace,
    SeriesRejected,
)
from mome_node.results.identity import ResultIdentity, derive_identity
from mome_node.results.objects import save
from mome_node.volume import Volume

STUDY = "2.25.1001"
SERIES = {"dce": "2.25.2001", "dwi": "2.25.2002", "t2": "2.25.2003"}
INSTANCES = {
    "dce": tuple(f"2.25.31{n:02d}" for n in range(12)),
    "dwi": tuple(f"2.25.32{n:02d}" for n in range(4)),
    "t2": tuple(f"2.25.33{n:02d}" for n in range(4)),
}

MODEL = ModelIdentity(
    name="MOME",
    version="0.1.0",
    weights_sha256="ab12" * 16,
    status="demonstration weights, trained on synthetic phantoms, not for clinical use",
    trained_on="4,000 synthetic phantoms",
    evaluated_on_patients=False,
    limits_of_use=("Trained on synthetic phantoms only.",),
    device="cpu",
)

POINT = OperatingPoint(
    name="2 % of synthetic cancers at or below",
    threshold=0.1234,
    cohort="300 held-out synthetic phantoms",
    cancers=86,
    cancers_at_or_below=0,
    upper_limit_95=0.0420,
    benign=214,
    benign_at_or_below=61,
)

SCORE = ExamScore(
    target="malignancy",
    score=0.7312,
    calibrated_percent=None,
    baseline=0.42,
    contributions={"dce": 0.2512, "dwi": 0.11, "t2": -0.05},
    coalitions={"dce": 0.66, "dwi": 0.52, "t2": 0.4, "dce+dwi+t2": 0.7312},
    made={
        "sequences": ["dce", "dwi", "t2"],
        "augmentation": "none",
        "numeric_type": "float32",
        "preprocessing": "0f" * 32,
    },
    operating_point=POINT,
)

USED = (
    InputUsed(
        "dce",
        (SERIES["dce"],),
        "t1_fl3d_tra_dynaVIEWS",
        INSTANCES["dce"],
        phase_seconds=(0.0, 92.5, 161.2, 229.9, 298.6, 367.3, 436.0),
        phases=7,
    ),
    InputUsed("dwi", (SERIES["dwi"],), "ep2d_diff_b50_800", INSTANCES["dwi"], b_value=800.0),
    InputUsed("t2", (SERIES["t2"],), "t2_tirm_tra", INSTANCES["t2"], fat_suppressed=True),
)


def findings(**changes: Any) -> Findings:
    """A complete synthetic exam above the operating point, with `changes`."""
    complete = Findings(
        study_instance_uid=STUDY,
        generation="generation",
        status="analysed",
        problems=(Problem.of("DCE_MULTIPLE_FAMILIES", "Two dynamic families; the high-resolution one was used."),),
        score=SCORE,
        advice=Advice("NO_SUPPORT", (Reason("ABOVE", "The score 73.1 lies above the operating point 12.34."),)),
        known_category="4A",
        category_source="MR report of this study",
        used=USED,
        missing=(),
        rejected=(SeriesRejected("2.25.2009", 9, "t1_sub_1", "derived", "A subtraction is never an input."),),
        salient=SalientPlace((-40.0, -35.0, 10.0), 8, 0.61),
        completeness_gap=0.031,
        measures={"mask_volume_ml": 1312.4, "enhancement_p99": 1.4321, "a_new_measure": 0.25},
        model=MODEL,
        software="mome-node 0.1.0",
        mode="research",
        created="2024-05-17T10:20:30",
    )
    return replace(complete, **changes)


def without(role: str) -> Findings:
    """The same exam without one sequence."""
    assert SCORE.operating_point is not None
    names = [r for r in ("dce", "dwi", "t2") if r != role]
    score = replace(
        SCORE,
        contributions={r: SCORE.contributions[r] for r in names},
        made={**SCORE.made, "sequences": names},
        operating_point=None,
    )
    return findings(
        score=score,
        used=tuple(u for u in USED if u.role != role),
        missing=(InputMissing(role, f"No usable {role.upper()} series was received."),),
        problems=(Problem.of(f"NO_{role.upper()}", f"No usable {role.upper()} series was received."),),
        advice=Advice(
            "WITHHELD",
            (
                Reason(f"NO_{role.upper()}", f"No usable {role.upper()} series was received."),
                Reason("NO_OPERATING_POINT", "The weights hold no operating point for these sequences."),
            ),
        ),
    )


def below() -> Findings:
    """The same exam with a score at or below the operating point."""
    contributions = {"dce": -0.28, "dwi": -0.08, "t2": 0.01}
    return findings(
        score=replace(SCORE, score=0.07, contributions=contributions),
        advice=Advice("CANDIDATE", (Reason("AT_OR_BELOW", "The score 7.0 lies at or below 12.34."),), True),
    )


def refused(status: str = "not_analysed") -> Findings:
    """A study without result: refused, or failed."""
    problem = {
        "not_analysed": Problem.of("NO_PRE", "No phase acquired before contrast was found in series 2.25.2001."),
        "failed": Problem.of("COMPUTE_FAILED", "The computation ran out of memory twice."),
    }[status]
    return findings(
        status=status,
        problems=(problem, Problem.of("NO_DWI", "No usable DWI series was received.")),
        score=None,
        advice=None,
        known_category=None,
        category_source=None,
        used=(),
        salient=None,
        completeness_gap=None,
        measures={},
    )


def identity(document: Findings, **changes: Any) -> ResultIdentity:
    inputs = [uid for uids in INSTANCES.values() for uid in uids]
    return derive_identity(document, **{"inputs": inputs, "settings_hash": "settings", **changes})


# ------------------------------------------------------------------ headers
def source(**changes: Any) -> Dataset:
    """Header of one image, as a scanner that writes Latin-1 sends it."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = INSTANCES["dce"][0]
    ds.StudyInstanceUID = STUDY
    ds.SeriesInstanceUID = SERIES["dce"]
    ds.StudyDate, ds.StudyTime = "20240517", "095812"
    ds.AccessionNumber, ds.StudyID = "SYN-4711", "1"
    ds.ReferringPhysicianName = "Weiß^Jürgen"
    ds.PatientName, ds.PatientID = "Müller^Änne", "SYN-0001"
    ds.IssuerOfPatientID = "SYNTHETIC"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "F"
    ds.StudyDescription = "MR Mamma beidseits"
    ds.Manufacturer = "SYNTHETIC"
    ds.Modality = "MR"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def evidence(image: Dataset | None = None) -> list[Dataset]:
    """Headers of all images that the synthetic exam was made from."""
    first = image or source()
    found = []
    for role, uids in INSTANCES.items():
        for uid in uids:
            ds = Dataset()
            ds.SOPClassUID = MRImageStorage
            ds.SOPInstanceUID, ds.SeriesInstanceUID = uid, SERIES[role]
            ds.StudyInstanceUID = first.StudyInstanceUID
            found.append(ds)
    return found


# ------------------------------------------------------------------ headers of the images of a volume
FRAME_OF_REFERENCE = "2.25.5001"


def dynamic(dce: Volume, enhanced: bool = False, shift: tuple[float, float, float] = (0, 0, 0)) -> list[Dataset]:
    """Headers of the images that `dce` could have been built of: one for each slice and phase, or all as frames of one.

    Neither the order of the list nor the UIDs tell slice or phase; the times do. `shift`: mm, of every image.
    """
    phases, width, height, slices = dce.voxels.shape
    column, row, between = dce.spacing
    places = []
    for n in range(phases * slices):
        phase, k = divmod((n * 17 + 3) % (phases * slices), slices)  # every place once: 17 divides no count
        place = Dataset()
        place.PlanePositionSequence, place.PlaneOrientationSequence = [Dataset()], [Dataset()]
        place.PixelMeasuresSequence, place.FrameContentSequence = [Dataset()], [Dataset()]
        corner = dce.to_patient(np.array([[0, 0, k]]))[0] + shift
        place.PlanePositionSequence[0].ImagePositionPatient = np.round(corner, 4).tolist()
        cosines = (dce.affine[:3, :2] / dce.spacing[:2]).T.ravel()
        place.PlaneOrientationSequence[0].ImageOrientationPatient = cosines.tolist()
        place.PixelMeasuresSequence[0].PixelSpacing = [row, column]
        place.PixelMeasuresSequence[0].SliceThickness = between
        place.FrameContentSequence[0].FrameAcquisitionDateTime = f"20240517{100000 + 100 * phase}"
        places.append(place)
    if enhanced:
        whole = _image("2.25.41000", EnhancedMRImageStorage, width, height)
        whole.PerFrameFunctionalGroupsSequence = places
        return [whole]
    found = []
    for n, place in enumerate(places):
        ds = _image(f"2.25.{42000 + n}", MRImageStorage, width, height)
        for group in place:
            ds.update(group.value[0])
        ds.AcquisitionDate, ds.AcquisitionTime = "20240517", str(ds.FrameAcquisitionDateTime)[8:]
        del ds.FrameAcquisitionDateTime
        found.append(ds)
    return found


def _image(uid: str, sop_class: str, width: int, height: int) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES["dce"]
    ds.FrameOfReferenceUID, ds.Modality = FRAME_OF_REFERENCE, "MR"
    ds.Columns, ds.Rows = width, height
    return ds


def made_of(headers: list[Dataset], dce: Volume, salient: np.ndarray, **changes: Any) -> Findings:
    """The synthetic exam whose dynamic series is these images of this volume, with its salient place."""
    used = replace(
        USED[0],
        instances=tuple(sorted(header.SOPInstanceUID for header in headers)),
        phase_seconds=dce.seconds,
        phases=dce.voxels.shape[0],
    )
    return findings(**{"used": (used, *USED[1:]), "salient": most_salient(salient, dce), **changes})


# ------------------------------------------------------------------ volumes
AXES = {
    # columns of the affine's rotation: direction of i, j, k in LPS
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "axial, rows flipped": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "axial, columns flipped": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}
EXTENT = {"x": (-160.0, 160.0), "y": (-110.0, 60.0), "z": (-70.0, 70.0)}  # mm


def volume(plane: str = "axial", spacing: tuple[float, float, float] = (2.5, 2.5, 5.0)) -> Volume:
    """A synthetic pre- and post-contrast pair on a grid of the given plane; two breasts, a heart, an enhancing spot."""
    affine, shape = grid(plane, spacing)
    x, y, z = coordinates(affine, shape)
    body = (y > 0) & (y < 55) & (abs(x) < 145)
    breasts = sum(((x - s) / 55) ** 2 + ((y - 0) / 85) ** 2 + (z / 60) ** 2 < 1 for s in (-70, 70)) > 0
    breasts &= y <= 0
    tissue = np.cos(x / 7) * np.cos(y / 6) * np.cos(z / 5) > 0.6
    pre = 300.0 * (body | breasts) + 120 * (tissue & breasts)
    heart = ((x - 25) / 45) ** 2 + ((y - 40) / 25) ** 2 + (z / 50) ** 2 < 1
    spot = ((x - SPOT[0]) / 7) ** 2 + ((y - SPOT[1]) / 6) ** 2 + ((z - SPOT[2]) / 8) ** 2 < 1
    post = pre + 500 * heart + 420 * spot + 60 * (tissue & breasts)
    return Volume(np.stack([pre, post]).astype(np.float32), affine, (0.0, 92.5))


SPOT = (-75.0, -45.0, 10.0)  # mm, LPS: in the right breast


def grid(plane: str, spacing: tuple[float, float, float]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of a grid over `EXTENT`; `spacing` along i, j, k in mm."""
    axes = np.array(AXES[plane], float).T
    lengths = np.abs(axes).T @ [high - low for low, high in EXTENT.values()]
    shape = tuple(int(length / s) + 1 for length, s in zip(lengths, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    corner = [EXTENT[name][0] if axes[row].sum() > 0 else EXTENT[name][1] for row, name in enumerate("xyz")]
    affine[:3, 3] = corner
    return affine, shape


def coordinates(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """LPS coordinates (3, W, H, D) in mm of every voxel centre."""
    index = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def mask(dce: Volume) -> np.ndarray:
    """The analysed area: both breasts, in front of the chest wall."""
    x, y, z = coordinates(dce.affine, dce.voxels.shape[1:])
    return (sum(((x - s) / 55) ** 2 + (y / 85) ** 2 + (z / 60) ** 2 < 1 for s in (-70, 70)) > 0) & (y <= -4)


def saliency(dce: Volume, at: tuple[float, float, float] = SPOT, sigma: float = 9.0) -> np.ndarray:
    """A blob of saliency around `at` (mm, LPS) within the mask, and a weaker one in the other breast."""
    points = coordinates(dce.affine, dce.voxels.shape[1:])
    distance = sum((c - a) ** 2 for c, a in zip(points, at, strict=True))
    other = sum((c - a) ** 2 for c, a in zip(points, (80, -40, -20), strict=True))
    return (np.exp(-distance / (2 * sigma**2)) + 0.4 * np.exp(-other / 200)) * mask(dce)


def as_received(ds: Dataset) -> Dataset:
    """The header as it comes from a file: text still in the bytes of its own character set."""
    buffer = BytesIO()
    ds.save_as(buffer, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


def saved(ds: Dataset, path: Path) -> bytes:
    """What `save` writes."""
    save(ds, path)
    return path.read_bytes()


KINDS: dict[str, Callable[[], Findings]] = {
    "complete": findings,
    "calibrated": lambda: findings(score=replace(SCORE, calibrated_percent=12.3)),
    "below the operating point": below,
    "advice withheld": lambda: findings(advice=Advice("WITHHELD", (Reason("UNILATERAL", "Only one breast."),))),
    "no advice asked for": lambda: findings(advice=None),
    "no operating point": lambda: findings(score=replace(SCORE, operating_point=None)),
    "no DWI": lambda: without("dwi"),
    "no T2": lambda: without("t2"),
    "not analysed": refused,
    "failed": lambda: refused("failed"),
}
