#!/usr/bin/env python3
"""Write synthetic breast-MRI studies as DICOM Part-10 files from a JSON specification.

    python make_study.py SPEC.json OUT_DIR [--study ID ...] [--rows N --cols N] [--seed S]

Needs pydicom >= 3 and numpy only.  One folder per study: OUT_DIR/<id>/<SeriesNumber>/<hash>.dcm.
The same specification and options always give the same bytes.  File names carry no order.

SPECIFICATION   {"studies": [STUDY, ...]}   (other top-level members are ignored)

STUDY   {"id": "EX01", "study": {...}, "series": [SERIES, ...], "expected": {...}}
  study     DICOM keyword -> value, stamped on every object of the study (Manufacturer, PatientSex,
            StudyDescription, BodyPartExamined, PatientPosition, SpecificCharacterSet, ...)
  expected  optional, never written into the files; expected.dce is used for pixel brightness only

SERIES  members with a special meaning:
  key            short unique name; not written, but part of the UIDs
  SOPClass       name from the DICOM UID dictionary, default "MR Image Storage"
  Modality       default "MR"
  rows, cols     original matrix; the files get --rows x --cols and a PixelSpacing that keeps the
                 field of view, so do not test absolute in-plane resolution on reduced files
                 (--rows 0 --cols 0 writes the original matrix)
  PixelSpacing   of the original matrix; default: the median field of view of the other series
  SliceThickness default: dz_mm of the group
  IOP            ImageOrientationPatient; or 'orientation': axial|sagittal|coronal (or TRA|SAG|COR),
                 several joined by '+' or '3 planes' = planes in turn, 'mixed' = rotating about z
  FrameOfReference  label; equal labels in a study give equal FrameOfReferenceUIDs; absent = no tag
  InstanceNumber_order  a text holding 'random', 'slice-major' or 'interleaved'; default: group by group
  RealWorldValueMapping unit (UCUM) of a real-world value map, e.g. "mm2/s" (enhanced objects)
  n_instances    number of objects, for objects without groups (SC, SEG, PR, SR, spectroscopy)
  groups | frames  see below
  any other member is a DICOM keyword, or TR, TE, TI, and is written as given.

groups  classic series, one file per slice: [{"n_slices": 96, "z0_mm": -90, "dz_mm": 2, "tags": {...}}, ...]
        Slice k lies at z0_mm + k * dz_mm along cross(row, column) of its orientation; the in-plane
        centre of every image is the patient origin.  Note: sagittal [0,1,0,0,0,-1] has the normal
        (-1,0,0), so the LEFT breast has NEGATIVE positions.
        tags: DICOM keywords or "gggg,eeee", stamped on every slice of the group (they override the
        series).  Private tags get their creator; for unknown ones give
        {"creator": "ACME", "VR": "DS", "value": 3}.
frames  one Enhanced multi-frame object, blocks of frames in storage order:
        [{"n_frames": 160, "TemporalPositionIndex": 1, "FrameAcquisitionDateTime": "...",
          "DimensionIndexValues": "[1,slice,1]", "DiffusionBValue": 800, ...}, ...]
        Members go into the functional group they belong to (see MACRO), others into
        FrameContentSequence; "slice" stands for the in-stack position; z0_mm and dz_mm are optional.

Any group, block or series may have "enhancement": 0..1, the contrast uptake drawn in the pixels.
Without it the uptake follows expected.dce, else the order of the acquisition times or groups.

A tag that the specification does not name is not written.  Exceptions: what makes an object readable
(UIDs, patient and study identifiers, image geometry, pixel description, type 1 attributes of enhanced
objects).  Dates and times are never made up for images.

UIDs (for tests):  uid(id) = StudyInstanceUID, uid(id, key) = SeriesInstanceUID, uid(id, key, i) =
SOPInstanceUID of the i-th object of the series, counted from 0 through the groups in order.
"""

import argparse
import hashlib
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UID_dictionary

SHORT = {"TR": "RepetitionTime", "TE": "EchoTime", "TI": "InversionTime"}
SPECIAL = {
    "key",
    "SOPClass",
    "rows",
    "cols",
    "PixelSpacing",
    "SliceThickness",
    "IOP",
    "orientation",
    "FrameOfReference",
    "InstanceNumber_order",
    "RealWorldValueMapping",
    "n_instances",
    "n_frames_total",
    "groups",
    "frames",
    "enhancement",
    "note",
}
PRIVATE = {
    "0019,100c": ("SIEMENS MR HEADER", "IS"),
    "0043,1039": ("GEMS_PARM_01", "IS"),
    "2001,1003": ("Philips Imaging DD 001", "FL"),
    "0065,1009": ("Image Private Header", "FD"),
}
B_TAGS = ("DiffusionBValue", *PRIVATE)
MACRO = {
    "TE": "MREchoSequence",
    "EffectiveEchoTime": "MREchoSequence",
    **dict.fromkeys(("TR", "FlipAngle", "EchoTrainLength"), "MRTimingAndRelatedParametersSequence"),
    **dict.fromkeys(("SpectrallySelectedSuppression", "InversionRecovery", "TI"), "MRModifierSequence"),
    **dict.fromkeys(("DiffusionBValue", "DiffusionDirectionality"), "MRDiffusionSequence"),
    "DiffusionGradientOrientation": "MRDiffusionSequence/DiffusionGradientDirectionSequence",
}
PLANES = {"axi": [1, 0, 0, 0, 1, 0], "tra": [1, 0, 0, 0, 1, 0], "sag": [0, 1, 0, 0, 0, -1], "cor": [1, 0, 0, 0, 0, -1]}
MADE = {"ContentDate": "20240101", "ContentTime": "000000"}  # of objects that must have a creation time
LABEL = {"ContentLabel": "SYNTHETIC", "ContentDescription": "", "ContentCreatorName": ""}
UPTAKE = [0, 0.75, 1, 0.95, 0.9, 0.86, 0.83, 0.8]


# ------------------------------------------------------------------ specification
def uid(*parts) -> str:
    """Deterministic UID, see the module text."""
    return "2.25." + str(int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:16], "big"))


def blocks(series: dict) -> list[dict]:
    """Groups or frame blocks of a series, in storage order, as dicts n, z0, dz, tags, enhancement."""
    out = []
    for b in series.get("groups") or series.get("frames") or []:
        n = b.get("n_slices") or b["n_frames"]
        tags = (
            b["tags"]
            if "n_slices" in b
            else {k: v for k, v in b.items() if k not in ("n_frames", "z0_mm", "dz_mm", "enhancement", "note")}
        )
        out.append(
            {
                "n": n,
                "z0": b.get("z0_mm", -90.0),
                "dz": b.get("dz_mm", max(round(165 / n, 1), 0.5)),
                "tags": tags,
                "enhancement": b.get("enhancement", series.get("enhancement")),
            }
        )
    return out


def select(series: dict, criteria: dict) -> list[int]:
    """Indices of the blocks that match {tag: value, 'ImageType_contains': token, '<tag>_rank': n}."""
    every = blocks(series)

    def match(tags):
        for name, want in criteria.items():
            if name.endswith("_contains"):
                ok = want in str(tags.get(name[:-9], series.get(name[:-9], ""))).split("\\")
            elif name.endswith("_rank"):
                values = sorted({b["tags"][name[:-5]] for b in every})
                ok = tags[name[:-5]] == values[want]
            else:
                ok = str(tags.get(name)) == str(want)
            if not ok:
                return False
        return True

    return [i for i, b in enumerate(every) if match(b["tags"])]


def b_value(tags: dict) -> float | None:
    """b-value in s/mm2 that the tags of a block give, without vendor offsets; the SequenceName is the last resort."""
    named = re.search(r"_b(\d+)", str(tags.get("SequenceName", "")))
    value = next((tags[t] for t in B_TAGS if tags.get(t) not in (None, "")), named and named[1])
    return None if value is None else float(str(value).split("\\")[0]) % 1e9


def orientations(series: dict, n: int) -> list:
    """ImageOrientationPatient of each of n slices."""
    if "IOP" in series:
        return [series["IOP"]] * n
    name = series.get("orientation", "axial").lower()
    if name == "mixed":
        angles = np.pi * np.arange(n) / n
        return [[round(float(np.cos(a)), 6), round(float(np.sin(a)), 6), 0, 0, 0, -1] for a in angles]
    planes = [PLANES[w.strip()[:3]] for w in name.replace("3 planes", "axial+sagittal+coronal").split("+")]
    return [planes[k % len(planes)] for k in range(n)]


def corner(iop, position: float, rows: int, cols: int, spacing) -> np.ndarray:
    """ImagePositionPatient of a slice at `position` mm along the normal, centred in its plane."""
    row, col = np.array(iop[:3], float), np.array(iop[3:], float)
    at = np.cross(row, col) * position - row * spacing[1] * (cols - 1) / 2 - col * spacing[0] * (rows - 1) / 2
    return np.round(at, 4) + 0.0


def clock(tags: dict) -> float | None:
    """Acquisition time of a block in seconds, None if it has none."""
    text = str(tags.get("FrameAcquisitionDateTime", ""))[8:] or str(tags.get("AcquisitionTime") or "")
    return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:]) if text else None


def uptakes(study: dict) -> dict:
    """Contrast uptake 0..1 of every block: {(series key, block index): value}."""
    dce = (study.get("expected") or {}).get("dce") or {}
    by_key = {s["key"]: s for s in study["series"]}
    level, known = {}, []
    for part in dce["groups"].values() if "groups" in dce else [dce]:
        for phase in part.get("phases", []):
            s = by_key[phase["series"]]
            for i in select(s, phase["select"]):
                level[s["key"], i] = UPTAKE[min(phase["order"], len(UPTAKE) - 1)]
                known.append((clock(blocks(s)[i]["tags"]), level[s["key"], i]))
    times = sorted({clock(b["tags"]) for s in study["series"] for b in blocks(s)} - {None})
    known = sorted(p for p in known if p[0] is not None) or [
        (t, UPTAKE[min(i, len(UPTAKE) - 1)]) for i, t in enumerate(times)
    ]
    for s in study["series"]:
        for i, b in enumerate(blocks(s)):
            t = clock(b["tags"])
            if b["enhancement"] is not None:
                level[s["key"], i] = b["enhancement"]
            elif (s["key"], i) not in level:
                level[s["key"], i] = (
                    float(np.interp(t, *zip(*known, strict=False)))
                    if t is not None
                    else 0
                    if dce
                    else UPTAKE[min(i, len(UPTAKE) - 1)]
                )
    return level


# ------------------------------------------------------------------ datasets
def put(ds: Dataset, name: str, value) -> None:
    """Set an attribute by keyword, short name, or 'gggg,eeee' (private ones with their creator)."""
    if "," in name:
        group, element = (int(x, 16) for x in name.split(","))
        tag = group << 16 | element
    else:
        group, tag = 0, tag_for_keyword(SHORT.get(name, name))
        if tag is None:
            raise ValueError(f"{name!r} is not a DICOM keyword")
    if group % 2:
        creator, vr = PRIVATE.get(name.lower(), ("SYNTHETIC", "LO"))
        if isinstance(value, dict):
            creator, vr, value = value.get("creator", creator), value.get("VR", vr), value["value"]
        ds.add_new((group, element >> 8), "LO", creator)
    else:
        vr = dictionary_VR(tag)
    if isinstance(value, str) and vr not in ("LT", "ST", "UT"):
        value = value.split("\\")
    values = value if isinstance(value, list) else [value]
    cast = float if vr in ("FD", "FL") else int if vr in ("IS", "US", "UL", "SS", "SL") else lambda v: v
    values = [cast(v) for v in values if v not in (None, "")]
    ds.add_new(tag, vr, None if not values else values[0] if len(values) == 1 else values)


def item(**attributes) -> Dataset:
    ds = Dataset()
    for name, value in attributes.items():
        ds.add_new(tag_for_keyword(name), dictionary_VR(name), value)
    return ds


def code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def dimensions(ds: Dataset, axes: dict) -> None:
    """Dimension modules for {attribute: functional group sequence}."""
    organisation = ds.SOPInstanceUID + ".1"
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organisation)]
    ds.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=tag_for_keyword(attribute),
            FunctionalGroupPointer=tag_for_keyword(group),
            DimensionDescriptionLabel=attribute,
        )
        for attribute, group in axes.items()
    ]


class Study:
    """Common values of a study: UIDs, character set, default field of view, pixel model."""

    def __init__(self, spec: dict, rows: int, cols: int, seed: int):
        self.spec, self.id, self.tags = spec, spec["id"], spec.get("study", {})
        self.rows, self.cols, self.seed = rows, cols, seed
        text = json.dumps([self.tags, spec["series"]], ensure_ascii=False)
        self.charset = self.tags.get("SpecificCharacterSet") or (
            None if text.isascii() else "ISO_IR 100" if max(map(ord, text)) < 256 else "ISO_IR 192"
        )
        fov = [s["PixelSpacing"][0] * s["rows"] for s in spec["series"] if s.get("PixelSpacing") and s.get("rows")]
        self.fov = float(np.median(fov)) if fov else 340.0
        self.uptake = uptakes(spec)
        images = [s for s in spec["series"] if blocks(s)]
        self.source = max(images, key=lambda s: sum(b["n"] for b in blocks(s)), default=None)  # for SEG, PR
        rng = np.random.default_rng(self.number("anatomy"))
        self.waves = rng.normal(0, 2 * np.pi / 70, (3, 5)), rng.uniform(0, 2 * np.pi, 5)
        where = [rng.choice((-1, 1)) * rng.uniform(55, 90), rng.uniform(-45, 15), rng.uniform(-30, 30)]
        self.lesion = np.array(where), rng.uniform(7, 14, 3)  # centre and radii, mm

    def number(self, *parts) -> int:
        return int(uid(self.id, self.seed, *parts)[5:]) % 2**63

    def frame_of_reference(self, series: dict) -> str | None:
        label = series.get("FrameOfReference")
        return uid("frame of reference", self.id, label) if label else None

    def grid(self, series: dict) -> tuple[int, int, list[float]]:
        """rows, cols, [row spacing, column spacing] as written."""
        r0, c0 = series.get("rows", 256), series.get("cols", series.get("rows", 256))
        rows, cols = self.rows or r0, self.cols or c0
        sr, sc = series.get("PixelSpacing") or [self.fov / r0, self.fov / c0]
        return rows, cols, [round(sr * r0 / rows, 5), round(sc * c0 / cols, 5)]

    def header(self, series: dict, sop_class: str, index: int) -> Dataset:
        """Patient, study, series, equipment and SOP attributes."""
        ds = Dataset()
        if self.charset:
            ds.SpecificCharacterSet = self.charset
        ds.update(
            item(
                PatientName=f"SYNTHETIC^{self.id}",
                PatientID=self.id,
                PatientBirthDate="",
                PatientSex="",
                StudyInstanceUID=uid(self.id),
                StudyID=self.id[:16],
                StudyDate="",
                StudyTime="",
                AccessionNumber="",
                ReferringPhysicianName="",
                Manufacturer="",
                SeriesInstanceUID=uid(self.id, series["key"]),
                SOPClassUID=sop_class,
                SOPInstanceUID=uid(self.id, series["key"], index),
                InstanceNumber=index + 1,
                Modality=series.get("Modality", "MR"),
            )
        )
        for name, value in self.tags.items():
            if ds.Modality == "MR" or name not in ("MagneticFieldStrength", "PatientPosition"):
                put(ds, name, value)
        if self.frame_of_reference(series):
            ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = self.frame_of_reference(series), ""
        return ds


def reference(study: Study, sequence: str) -> Dataset:
    """Reference to the first object of the study's largest image series."""
    key = study.source["key"]
    ref = item(ReferencedSOPClassUID=sop_uid(study.source), ReferencedSOPInstanceUID=uid(study.id, key, 0))
    return item(SeriesInstanceUID=uid(study.id, key), **{sequence: [ref]})


# ------------------------------------------------------------------ pixels
def picture_kind(series: dict, tags: dict) -> tuple[str, bool, float | None]:
    """(kind, fat suppressed, b-value), judged from the attributes of the specification."""

    def get(name, default=""):
        return tags.get(name, series.get(name, default)) or default

    words = set(re.split(r"[\\_ ]+", str(get("ImageType")).upper()))
    options = str(get("ScanOptions")).split("\\")
    fatsat = bool("FS" in options or words & {"WATER", "W"} or get("TI") or get("SpectrallySelectedSuppression"))
    b = b_value(tags)
    for kind, tokens in (
        ("adc", {"ADC"}),
        ("fat", {"FAT", "F"}),
        ("mip", {"MIP", "PROJECTION"}),
        ("sub", {"SUB", "SUBTRACT", "SUBTRACTION"}),
        ("map", {"EADC", "FIELD", "WI", "WO", "CAD"}),
    ):
        if words & tokens:
            return kind, fatsat, b
    if b is not None or "EP" in str(get("ScanningSequence")).split("\\") or "DIFFUSION" in words:
        return "dwi", True, b or 0.0
    tr = float(get("TR", 0))
    return ("t2" if tr >= 2000 else "t1" if tr else "map"), fatsat, None


def inside(distance: np.ndarray, sharpness: float = 12) -> np.ndarray:
    """Soft membership of an ellipsoid whose surface is at distance 1."""
    return 1 / (1 + np.exp(np.clip(sharpness * (np.minimum(distance, 6) - 1), -60, 60)))


def ellipsoid(p: np.ndarray, centre, radii) -> np.ndarray:
    return np.sqrt((((p - centre) / radii) ** 2).sum(-1))


def paint(study: Study, series: dict, block: dict, index: int, iop, position: float, noise) -> np.ndarray:
    """Synthetic image of a chest with two breasts, heart and one enhancing lesion, in stored values.

    Patient coordinates (LPS, mm): breasts point anteriorly (-y), the chest wall begins at about y = 45.
    """
    rows, cols, (sr, sc) = study.grid(series)
    row, col = np.array(iop[:3], float), np.array(iop[3:], float)
    u, v = (np.arange(cols) - (cols - 1) / 2) * sc, (np.arange(rows) - (rows - 1) / 2) * sr
    p = np.cross(row, col) * position + v[:, None, None] * col + u[None, :, None] * row
    side = np.where(p[..., 0] < 0, -75.0, 75.0)
    centre = np.stack([side, np.full(side.shape, 25.0), np.zeros(side.shape)], -1)
    wall = inside(ellipsoid(p, (0, 165, 0), (185, 120, 400)), 20)
    cavity = inside(ellipsoid(p, (0, 175, 0), (165, 100, 380)), 20)
    to_skin = ellipsoid(p, centre, (66, 105, 92))
    breast = inside(to_skin) * (1 - wall)
    skin = inside(to_skin * 0.98) * (1 - inside(to_skin * 1.03)) * (1 - wall)
    heart = inside(ellipsoid(p, (35, 120, -20), (50, 42, 55)))
    muscle, lung = wall * (1 - cavity), cavity * (1 - heart)
    k, phase = study.waves
    core = inside(ellipsoid(p, centre - (0, 15, 0), (50, 78, 72)), 6)
    gland = breast * core / (1 + np.exp(-2 * np.sin(p @ k + phase).sum(-1)))
    lesion = breast * inside(ellipsoid(p, study.lesion[0], study.lesion[1]), 5)
    gland, fat = gland * (1 - lesion), breast * (1 - lesion) - gland * (1 - lesion)
    kind, fatsat, b = picture_kind(series, block["tags"])
    up = study.uptake[series["key"], index] or (1 if kind in ("sub", "mip") else 0)
    uptake = up * (90 * gland + 700 * lesion + 15 * fat + 650 * heart + 90 * muscle + 160 * skin)
    bright_fat = (0 if fatsat else 500) * (fat + skin)
    slow = 1900 * gland + 1000 * lesion + 150 * fat + 1500 * muscle + 1700 * heart
    image = {
        "t1": 20 + 220 * gland + 240 * lesion + 60 * fat + 200 * muscle + 150 * heart + uptake + bright_fat,
        "t2": 20 + 450 * gland + 600 * lesion + 60 * fat + 150 * muscle + 300 * heart + bright_fat,
        "dwi": 15 + (700 * gland + 1100 * lesion + 120 * muscle + 200 * heart) * np.exp(-(b or 0) * slow * 1e-6),
        "adc": slow,
        "fat": 40 + 600 * (fat + skin),
        "sub": uptake,
        "mip": 1.6 * uptake,
        "map": 300 * gland + 200 * lesion,
    }[kind]
    image = np.clip(image * (1 - 0.9 * lung) + noise.normal(0, 6, image.shape), 0, 4000)
    return np.rint(image / float(series.get("RescaleSlope", 1))).astype("<u2")


def pixel_module(ds, rows, cols, samples=1, bits=16, stored=None):
    ds.update(
        item(
            Rows=rows,
            Columns=cols,
            SamplesPerPixel=samples,
            BitsAllocated=bits,
            BitsStored=stored or bits,
            HighBit=(stored or bits) - 1,
            PixelRepresentation=0,
            PhotometricInterpretation="RGB" if samples == 3 else "MONOCHROME2",
        )
    )
    if samples == 3:
        ds.PlanarConfiguration = 0


def slices(study: Study, series: dict):
    """Every slice of a series: block index, block, slice index, orientation, position (LPS, mm), pixels."""
    for i, b in enumerate(blocks(series)):
        for k, iop in enumerate(orientations(series, b["n"])):
            pos = b["z0"] + k * b["dz"]
            seed = study.number(series["key"], round(pos, 3), json.dumps(b["tags"], sort_keys=True))  # re-sent: equal
            pixels = paint(study, series, b, i, iop, pos, np.random.default_rng(seed))
            yield i, b, k, iop, corner(iop, pos, *study.grid(series)).tolist(), pixels


# ------------------------------------------------------------------ one writer per kind of object
def classic(study: Study, series: dict, sop_class: str):
    """One MR image per slice."""
    rows, cols, spacing = study.grid(series)
    base = study.header(series, sop_class, 0)
    samples, parts = series.get("SamplesPerPixel", 1), blocks(series)
    for name, value in series.items():
        if name not in SPECIAL and not all(name in b["tags"] for b in parts):
            put(base, name, value)
    if "RescaleSlope" in series:
        base.RescaleIntercept, base.RescaleType = 0, "US"
    stored = 8 if samples == 3 else 16 if "RescaleSlope" in series else 12
    pixel_module(base, rows, cols, samples, 8 if samples == 3 else 16, stored)
    base.PixelSpacing = spacing
    index = [(i, k) for i, b in enumerate(parts) for k in range(b["n"])]
    order, text = list(range(len(index))), series.get("InstanceNumber_order", "")
    if "random" in text:
        order = np.random.default_rng(study.number(series["key"], "order")).permutation(len(index)).tolist()
    elif "slice-major" in text or "interleaved" in text:
        order = sorted(order, key=lambda j: index[j][::-1])
    number = {j: n + 1 for n, j in enumerate(order)}
    for j, (_i, b, _k, iop, at, pixels) in enumerate(slices(study, series)):
        ds = Dataset()
        ds.update(base)
        for name, value in b["tags"].items():
            put(ds, name, value)
        ds.SOPInstanceUID, ds.InstanceNumber = uid(study.id, series["key"], j), number[j]
        ds.ImageOrientationPatient, ds.ImagePositionPatient = iop, at
        ds.SliceThickness = series.get("SliceThickness", abs(b["dz"]))
        if samples == 3:
            stored_values = np.repeat(np.minimum(pixels // 4, 255).astype("u1")[..., None], 3, 2)
        else:
            stored_values = pixels
        ds.add_new("PixelData", "OB" if samples == 3 else "OW", stored_values.tobytes())
        yield ds


def enhanced(study: Study, series: dict, sop_class: str):
    """One Enhanced MR multi-frame object."""
    rows, cols, spacing = study.grid(series)
    parts = blocks(series)
    ds = study.header(series, sop_class, 0)
    contrast = series.get("AcquisitionContrast", "UNKNOWN")
    kind = series.get("ImageType") or f"ORIGINAL\\PRIMARY\\{'OTHER' if contrast == 'UNKNOWN' else contrast}\\NONE"
    common = {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "AcquisitionContrast": contrast,
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
    }
    ds.update(
        item(
            ImageType=kind.split("\\"),
            ResonantNucleus="1H",
            KSpaceFiltering="NONE",
            BurnedInAnnotation="NO",
            LossyImageCompression="00",
            PresentationLUTShape="IDENTITY",
            ContentQualification="RESEARCH",
            ApplicableSafetyStandardAgency="IEC",
            DeviceSerialNumber="1",
            SoftwareVersions="1",
            NumberOfFrames=sum(b["n"] for b in parts),
            **common,
        )
    )
    pixel_module(ds, rows, cols, stored=12)
    first = min(filter(None, (b["tags"].get("FrameAcquisitionDateTime") for b in parts)), default=None)
    if first:
        ds.AcquisitionDateTime, ds.ContentDate, ds.ContentTime = first, first[:8], first[8:]

    def place(target, name, value, default):
        """Put an attribute into its functional group macro; default = sequence keyword, None = target itself."""
        path = MACRO.get(name, default)
        for sequence in path.split("/") if path else []:
            if sequence not in target:
                setattr(target, sequence, [Dataset()])
            target = target[sequence][0]
        put(target, "EffectiveEchoTime" if name == "TE" else "InversionTimes" if name == "TI" else name, value)

    thickness = series.get("SliceThickness", abs(parts[0]["dz"]))
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=spacing, SliceThickness=thickness)],
        PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")],
    )
    if "RealWorldValueMapping" in series:
        unit = series["RealWorldValueMapping"]
        shared.RealWorldValueMappingSequence = [
            item(
                RealWorldValueFirstValueMapped=0,
                RealWorldValueLastValueMapped=4095,
                RealWorldValueIntercept=0.0,
                RealWorldValueSlope=1e-6 if unit == "mm2/s" else 1.0,
                LUTExplanation="ADC",
                LUTLabel="ADC",
                MeasurementUnitsCodeSequence=code(unit, "UCUM", unit),
            )
        ]
    for name, value in series.items():
        if name not in SPECIAL | {"ImageType", "AcquisitionContrast"}:
            place(shared if name in MACRO else ds, name, value, None)

    axes = ["StackID", "InStackPositionNumber"]
    b_values = sorted({b["tags"].get("DiffusionBValue") or 0 for b in parts})
    if any("DiffusionBValue" in b["tags"] for b in parts):
        axes += ["DiffusionBValue", "DiffusionDirectionality"]
    elif len(parts) > 1:
        axes += ["TemporalPositionIndex"]
    dimensions(ds, {a: MACRO.get(a, "FrameContentSequence") for a in axes})
    turning = len({tuple(o) for o in orientations(series, parts[0]["n"])}) > 1
    typed = any("ImageType" in b["tags"] for b in parts)  # a macro is either shared or per frame
    frames, pixel_data, sides = [], [], set()
    for i, b, k, iop, at, pixels in slices(study, series):
        frame = item(
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=k + 1)],
            PlanePositionSequence=[item(ImagePositionPatient=at)],
        )
        (frame if turning else shared).PlaneOrientationSequence = [item(ImageOrientationPatient=iop)]
        (frame if typed else shared).MRImageFrameTypeSequence = [
            item(FrameType=(b["tags"].get("ImageType") or kind).split("\\"), **common)
        ]
        sides |= {"L" if x > 0 else "R" for x in (at[0], at[0] + iop[0] * spacing[1] * cols) if abs(x) > 30}
        index = [1, k + 1, b_values.index(b["tags"].get("DiffusionBValue") or 0) + 1, i + 1][: len(axes)]
        if axes[-1] == "TemporalPositionIndex":
            index[2] = i + 1
        for name, value in b["tags"].items():
            if name == "DimensionIndexValues":
                index = json.loads(str(value).replace("slice", str(k + 1)))
            elif name != "ImageType":
                place(frame, name, value, "FrameContentSequence")
        frame.FrameContentSequence[0].DimensionIndexValues = index
        frames.append(frame)
        pixel_data.append(pixels.tobytes())
    if study.tags.get("BodyPartExamined") == "BREAST":
        shared.FrameAnatomySequence = [
            item(
                FrameLaterality=sides.pop() if len(sides) == 1 else "B",
                AnatomicRegionSequence=code("76752008", "SCT", "Breast"),
            )
        ]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.add_new("PixelData", "OW", b"".join(pixel_data))
    yield ds


def secondary_capture(study: Study, series: dict, ds: Dataset) -> None:
    rows, cols, _ = study.grid(series)
    ds.update(item(ConversionType="WSD", ImageType=["DERIVED", "SECONDARY"]))
    pixel_module(ds, rows, cols, 3, 8)
    ds.add_new("PixelData", "OB", np.tile((np.arange(cols) % 256).astype("u1")[:, None], (rows, 1, 3)).tobytes())


def segmentation(study: Study, series: dict, ds: Dataset) -> None:
    """Four slices with a disc, on the grid of the study's largest image series."""
    image, n = study.source or series, 4
    rows, cols, spacing = study.grid(image)
    first = (blocks(image) or [{"z0": 0.0, "dz": 1.0}])[0]
    iop = orientations(image, 1)[0]
    corners = [corner(iop, first["z0"] + k * first["dz"], rows, cols, spacing).tolist() for k in range(n)]
    tissue = code("85756007", "SCT", "Tissue")
    if "FrameOfReferenceUID" not in ds and study.frame_of_reference(image):
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = study.frame_of_reference(image), ""
    dimensions(
        ds,
        {"ReferencedSegmentNumber": "SegmentIdentificationSequence", "ImagePositionPatient": "PlanePositionSequence"},
    )
    ds.update(
        item(
            ImageType=["DERIVED", "PRIMARY"],
            SegmentationType="BINARY",
            NumberOfFrames=n,
            LossyImageCompression="00",
            ManufacturerModelName="Synthetic",
            DeviceSerialNumber="1",
            SoftwareVersions="1",
            **MADE,
            **LABEL,
            SegmentSequence=[
                item(
                    SegmentNumber=1,
                    SegmentLabel="Tissue",
                    SegmentAlgorithmType="AUTOMATIC",
                    SegmentAlgorithmName="synthetic",
                    SegmentedPropertyCategoryCodeSequence=tissue,
                    SegmentedPropertyTypeCodeSequence=tissue,
                )
            ],
            SharedFunctionalGroupsSequence=[
                item(
                    PixelMeasuresSequence=[
                        item(PixelSpacing=spacing, SliceThickness=first["dz"], SpacingBetweenSlices=first["dz"])
                    ],
                    PlaneOrientationSequence=[item(ImageOrientationPatient=iop)],
                    SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
                )
            ],
            PerFrameFunctionalGroupsSequence=[
                item(
                    FrameContentSequence=[item(DimensionIndexValues=[1, k + 1])],
                    PlanePositionSequence=[item(ImagePositionPatient=at)],
                )
                for k, at in enumerate(corners)
            ],
        )
    )
    if study.source:
        ds.ReferencedSeriesSequence = [reference(study, "ReferencedInstanceSequence")]
    pixel_module(ds, rows, cols, 1, 1)
    disc = (np.arange(rows)[:, None] - rows / 2) ** 2 + (np.arange(cols) - cols / 2) ** 2 < rows * cols / 16
    bits = np.packbits(np.tile(disc.ravel(), n), bitorder="little").tobytes()
    ds.add_new("PixelData", "OB", bits + b"\0" * (len(bits) % 2))


def presentation_state(study: Study, series: dict, ds: Dataset) -> None:
    rows, cols, _ = study.grid(study.source or series)
    area = item(
        DisplayedAreaTopLeftHandCorner=[1, 1],
        DisplayedAreaBottomRightHandCorner=[cols, rows],
        PresentationSizeMode="SCALE TO FIT",
        PresentationPixelAspectRatio=[1, 1],
    )
    ds.update(
        item(
            PresentationCreationDate=MADE["ContentDate"],
            PresentationCreationTime=MADE["ContentTime"],
            PresentationLUTShape="IDENTITY",
            DisplayedAreaSelectionSequence=[area],
            **LABEL,
        )
    )
    if study.source:
        ds.ReferencedSeriesSequence = [reference(study, "ReferencedImageSequence")]


def spectroscopy(study: Study, series: dict, ds: Dataset) -> None:
    kind, n = ["ORIGINAL", "PRIMARY", "SPECTROSCOPY", "NONE"], 64
    ds.update(
        item(
            ImageType=kind,
            Rows=1,
            Columns=1,
            NumberOfFrames=1,
            DataPointRows=1,
            DataPointColumns=n,
            ResonantNucleus="1H",
            DataRepresentation="COMPLEX",
            SignalDomainColumns="TIME",
            SpectralWidth=2000.0,
            TransmitterFrequency=127.7,
            VolumeLocalizationTechnique="PRESS",
            SharedFunctionalGroupsSequence=[
                item(
                    PixelMeasuresSequence=[item(PixelSpacing=[20, 20], SliceThickness=20)],
                    PlaneOrientationSequence=[item(ImageOrientationPatient=PLANES["axi"])],
                    MRSpectroscopyFrameTypeSequence=[
                        item(
                            FrameType=kind,
                            VolumetricProperties="VOLUME",
                            VolumeBasedCalculationTechnique="NONE",
                            ComplexImageComponent="COMPLEX",
                            AcquisitionContrast="UNKNOWN",
                        )
                    ],
                )
            ],
            PerFrameFunctionalGroupsSequence=[
                item(
                    FrameContentSequence=[item(StackID="1", InStackPositionNumber=1)],
                    PlanePositionSequence=[item(ImagePositionPatient=[60, -35, 5])],
                )
            ],
        )
    )
    ds.add_new("SpectroscopyData", "OF", np.exp((2j - 0.05) * np.arange(n)).astype("<c8").tobytes())


def report(study: Study, series: dict, ds: Dataset) -> None:
    text = item(
        RelationshipType="CONTAINS",
        ValueType="TEXT",
        TextValue="Synthetic report.",
        ConceptNameCodeSequence=code("121071", "DCM", "Finding"),
    )
    ds.update(
        item(
            ValueType="CONTAINER",
            ContinuityOfContent="SEPARATE",
            CompletionFlag="COMPLETE",
            VerificationFlag="UNVERIFIED",
            PerformedProcedureCodeSequence=[],
            **MADE,
            ReferencedPerformedProcedureStepSequence=[],
            ContentSequence=[text],
            ConceptNameCodeSequence=code("18748-4", "LN", "Diagnostic Imaging Report"),
        )
    )


def other(study: Study, series: dict, sop_class: str):
    """Minimal valid objects that are not MR images."""
    name = UID_dictionary[sop_class][0]
    for index in range(series.get("n_instances", 1)):
        ds = study.header(series, sop_class, index)
        for key, value in series.items():
            if key not in SPECIAL:
                put(ds, key, value)
        for word, fill in (
            ("Secondary Capture", secondary_capture),
            ("Segmentation", segmentation),
            ("SR Storage", report),
            ("Presentation State", presentation_state),
            ("Spectroscopy", spectroscopy),
        ):
            if word in name:
                fill(study, series, ds)
        yield ds


# ------------------------------------------------------------------ command line
def sop_uid(series: dict) -> str:
    name = series.get("SOPClass", "MR Image Storage")
    for u, (text, kind, *_) in UID_dictionary.items():
        if text == name and kind == "SOP Class":
            return u
    raise ValueError(f"unknown SOP class {name!r}")


def write_study(spec: dict, out_dir, rows: int = 32, cols: int = 32, seed: int = 0) -> tuple[int, int, int]:
    """Write one study below out_dir/<id>; returns (number of files, frames, bytes)."""
    study, folder = Study(spec, rows, cols, seed), Path(out_dir) / spec["id"]
    for old in folder.glob("*/*.dcm"):
        old.unlink()
    files = frames = size = 0
    for series in spec["series"]:
        sop_class = sop_uid(series)
        writer = classic if series.get("groups") else enhanced if series.get("frames") else other
        place = folder / str(series.get("SeriesNumber", series["key"]))
        place.mkdir(parents=True, exist_ok=True)
        for ds in writer(study, series, sop_class):
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = place / (hashlib.sha256(ds.SOPInstanceUID.encode()).hexdigest()[:12] + ".dcm")
            dcmwrite(path, ds, enforce_file_format=True)
            files, frames, size = files + 1, frames + int(ds.get("NumberOfFrames", 1)), size + path.stat().st_size
    return files, frames, size


def main() -> None:
    parser = argparse.ArgumentParser(description="Write synthetic breast-MRI studies as DICOM files.")
    parser.add_argument("spec", help="JSON file, format: see the text at the top of this program")
    parser.add_argument("out_dir")
    parser.add_argument("--study", nargs="+", metavar="ID", help="only these studies")
    parser.add_argument("--rows", type=int, default=32, help="rows of the images, 0 = as specified (default 32)")
    parser.add_argument("--cols", type=int, default=32, help="columns of the images, 0 = as specified (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="seed of anatomy, noise and random orders")
    args = parser.parse_args()
    studies = json.loads(Path(args.spec).read_text(encoding="utf-8"))["studies"]
    missing = set(args.study or []) - {s["id"] for s in studies}
    if missing:
        sys.exit(f"not in {args.spec}: {' '.join(sorted(missing))}")
    for spec in studies:
        if not args.study or spec["id"] in args.study:
            start = time.time()
            files, frames, size = write_study(spec, args.out_dir, args.rows, args.cols, args.seed)
            print(
                f"{spec['id']}: {len(spec['series'])} series, {files} files, {frames} frames, "
                f"{size / 1e6:.1f} MB, {time.time() - start:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
