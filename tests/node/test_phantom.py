"""Synthetic studies are DICOM as a scanner writes it, and say on every image that they are no patient."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mome.phantom import Design
from mome_node import phantom
from mome_node.analysis import headers, series_grouping, volumes
from mome_node.phantom import Written, write_labels, write_study
from mome_node.study import OWN_PHANTOM
from tests.judges import dciodvfy


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_study(tmp_path_factory.mktemp("phantom"), 21, malignant=True, category="4B")


def test_a_study_has_the_series_of_a_breast_protocol(written: Written) -> None:
    """Localizer, T2, DWI with three b-values, ADC, seven phases, and the subtractions and MIPs in between."""
    names = Counter(pydicom.dcmread(f, specific_tags=["SeriesDescription"]).SeriesDescription for f in written.files)
    assert set(names) == {
        "localizer",
        "t2_tirm_tra",
        "ep2d_diff_b50_400_800_tra_TRACEW",
        "ep2d_diff_b50_400_800_tra_ADC",
        "t1_fl3d_tra_dynaVIEWS_spair_1+6",
        "t1_fl3d_tra_dynaVIEWS_spair_1+6_SUB",
        "t1_fl3d_tra_dynaVIEWS_spair_1+6_SUB_MIP_TRA",
    }


def test_no_image_is_written_over_another(written: Written) -> None:
    """Three b-values share a series and its folder."""
    uids = {pydicom.dcmread(f, specific_tags=["SOPInstanceUID"]).SOPInstanceUID for f in written.files}
    assert len(uids) == len(written.files)


def test_every_image_says_that_it_is_synthetic(written: Written) -> None:
    """A phantom that strays into an archive must not be taken for a patient."""
    for path in written.files[:: len(written.files) // 20]:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        assert ds.Manufacturer == OWN_PHANTOM
        assert "Synthetic" in str(ds.PatientName)
        assert "no patient" in ds.ImageComments


@pytest.mark.system
def test_the_images_are_valid_mr_images(written: Written) -> None:
    """One image of every series passes dicom3tools."""
    firsts = {path.parent: path for path in written.files}
    for path in firsts.values():
        assert dciodvfy(path) == []


def test_the_same_seed_gives_the_same_bytes(written: Written, tmp_path: Path) -> None:
    """Two people who try the node look at the same study."""
    again = write_study(tmp_path, 21, malignant=True, category="4B")
    for one, other in list(zip(written.files, again.files, strict=True))[::50]:
        assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


def test_the_planted_lesion_lies_where_the_generator_says(written: Written) -> None:
    """The way from the phantom's millimetres through DICOM and the node's volumes and back."""
    (study,), _ = headers.read_folder(written.files[0].parents[2])
    built, problems = volumes.build(study, series_grouping.group(study))
    assert [p.code for p in problems] == []
    dce = built["dce"]
    at = tuple(np.rint(dce.to_voxels(np.array([written.lesion_mm]))[0]).astype(int))
    gain = dce.voxels[2].astype(float) - dce.voxels[0]
    box = tuple(slice(i - 3, i + 4) for i in at)
    breast = gain[:, : gain.shape[1] // 2]
    assert gain[box].mean() > 3 * np.abs(breast).mean()
    assert dce.seconds is not None
    assert dce.seconds[0] == 0


def test_the_request_names_the_category(written: Written) -> None:
    """As a referring department would; the advice reads it there."""
    ds = pydicom.dcmread(written.files[0], stop_before_pixels=True)
    assert "BI-RADS 4B" in ds.RequestAttributesSequence[0].ReasonForTheRequestedProcedure


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The patient of `written` in a cohort of another design, with the age and category of the labels."""
    return write_study(tmp_path_factory.mktemp("labelled"), 21, malignant=True, category=None, design="clinic")


def test_a_table_of_labels_belongs_to_the_studies(labelled: Written, tmp_path: Path) -> None:
    """`mome-node cohort --table` reads it: keys first, then the labels; header and request say what the labels say."""
    write_labels(tmp_path / "labels.csv", [labelled])
    with (tmp_path / "labels.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    ds = pydicom.dcmread(labelled.files[0], stop_before_pixels=True)
    assert (line["patient_id"], line["study_instance_uid"]) == (ds.PatientID, ds.StudyInstanceUID)
    assert int(ds.PatientAge[:3]) == float(line["age"])
    assert int(ds.PatientBirthDate[:4]) == 2024 - float(line["age"])
    assert float(line["field_strength_t"]) == ds.MagneticFieldStrength
    assert line["vendor"] == ds.Manufacturer
    assert f"BI-RADS {line['birads']}" in ds.RequestAttributesSequence[0].ReasonForTheRequestedProcedure
    assert line["malignant"] == "1"


def test_another_design_is_another_study(written: Written, labelled: Written) -> None:
    """Other images under the same UID would be refused, or worse, silently mixed."""
    assert not uids(written) & uids(labelled)


def uids(study: Written) -> set[str]:
    """Study, series, frame of reference and images, of every 50th file."""
    found = set()
    for path in study.files[::50]:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        found |= {ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID, ds.SOPInstanceUID}
    return found


def test_a_sequence_that_the_design_leaves_out_is_not_written() -> None:
    """A study without T2 has no T2 series, rather than an empty one."""
    exam = phantom._generator()(24, fine=True, design=Design("no T2", missing_t2=1.0))
    names = {series.description for series in phantom._protocol(exam)}
    assert "ep2d_diff_b50_400_800_tra_ADC" in names
    assert "t2_tirm_tra" not in names
