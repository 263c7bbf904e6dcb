"""What is no breast MRI: real files of other regions, other modalities and broken ones, as pydicom ships them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pydicom.data
import pytest

from mome_node.analysis import headers, series_grouping
from mome_node.analysis.series_grouping.images import MR_CLASSES

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "grouping_report.schema.json").read_text(encoding="utf-8"))
FOLDERS = ("test_files", "charset_files")


@pytest.fixture(scope="module", params=FOLDERS)
def answered(request: pytest.FixtureRequest) -> tuple[list, list, dict]:
    folder = Path(pydicom.data.__file__).parent / request.param
    studies, unusable = headers.read_files(path for path in sorted(folder.rglob("*")) if path.is_file())
    return studies, unusable, series_grouping.report(studies, unusable, folder)


def test_every_real_study_of_something_else_is_refused(answered: tuple[list, list, dict]) -> None:
    """MR of brain, knee and abdomen in eight encodings, CT, ultrasound, plans and reports: none may be analysed."""
    studies, _, report = answered
    jsonschema.validate(report, SCHEMA)
    assert len(report["studies"]) > 5
    assert {study["decision"] for study in report["studies"]} == {"reject"}
    for study, answer in zip(studies, report["studies"], strict=True):
        if any(i.sop_class_uid in MR_CLASSES for i in study.instances):
            assert [p["code"] for p in answer["problems"]] == ["NOT_BREAST"]


def test_every_file_is_in_a_study_or_has_a_reason(answered: tuple[list, list, dict]) -> None:
    """Truncated, without meta information, with bad VRs, nested too deep: said, and never a traceback."""
    _, unusable, report = answered
    assert all(file.reason.endswith(".") for file in unusable)
    assert series_grouping.describe(report)
    assert json.dumps(report)
