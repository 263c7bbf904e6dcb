"""Worked studies: layouts and traps of real archives as synthetic studies, written to files and read back.

`grouping_examples.json` holds the first six, `grouping_studies.json` further ones; the answers are those that a
radiologist would defend.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mome_node.analysis import headers, series_grouping

from .make_study import blocks, select, uid, write_study

DATA = Path(__file__).parents[1] / "data"
EXAMPLES = {
    spec["id"]: spec
    for name in ("grouping_examples.json", "grouping_studies.json")
    for spec in json.loads((DATA / name).read_text(encoding="utf-8"))["studies"]
}
SCHEMA = json.loads((DATA / "grouping_report.schema.json").read_text(encoding="utf-8"))
MOST_SLICES = 12


def thinned(spec: dict[str, Any]) -> dict[str, Any]:
    """The same study with at most twelve slices in every group: headers tell as much, files are written sooner."""
    spec = copy.deepcopy(spec)
    for series in spec["series"]:
        for block in series.get("groups") or series.get("frames") or []:
            name = "n_slices" if "n_slices" in block else "n_frames"
            block[name] = min(block[name], MOST_SLICES)
    return spec


@pytest.fixture(scope="module", params=sorted(EXAMPLES))
def answered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    """The specification of an example, and the grouping's answer to its files."""
    spec, folder = thinned(EXAMPLES[request.param]), tmp_path_factory.mktemp(request.param)
    write_study(spec, folder, rows=8, cols=8)
    studies, unusable = headers.read_folder(folder)
    report = series_grouping.report(studies, unusable, folder)
    jsonschema.validate(report, SCHEMA)
    assert report["unusable_files"] == []
    return spec, report["studies"][0]


def images(spec: dict, key: str, criteria: dict) -> set[tuple[str, int | None]]:
    """(SOPInstanceUID, frame or None) of the blocks of a series that match."""
    series = next(s for s in spec["series"] if s["key"] == key)
    wanted, found, at = set(select(series, criteria)), set(), 0
    if "frames" in series and len(wanted) == len(blocks(series)):
        return {(uid(spec["id"], key, 0), None)}  # a whole object is named without its frames
    for i, block in enumerate(blocks(series)):
        for k in range(at, at + block["n"]):
            if i in wanted:
                found.add((uid(spec["id"], key, 0), k + 1) if "frames" in series else (uid(spec["id"], key, k), None))
        at += block["n"]
    return found


def named(references: list[dict]) -> set[tuple[str, int | None]]:
    return {(r["SOPInstanceUID"], frame) for r in references for frame in r["frames"] or [None]}


def test_decision_and_problems(answered: tuple[dict, dict]) -> None:
    """Every problem code that is expected, and none besides: a false warning blocks advice as a true one does."""
    spec, answer = answered
    assert answer["decision"] == spec["expected"]["decision"]
    assert sorted(p["code"] for p in answer["problems"]) == sorted(spec["expected"]["problems"])


def test_roles_and_selections(answered: tuple[dict, dict]) -> None:
    """Every series has its role and a reason, and exactly the expected ones are used."""
    spec, answer = answered
    keys = {uid(spec["id"], s["key"]): s["key"] for s in spec["series"]}
    assert {keys[s["SeriesInstanceUID"]]: s["role"] for s in answer["series"]} == spec["expected"]["roles"]
    selected = {keys[s["SeriesInstanceUID"]] for s in answer["series"] if s["selected"]}
    assert selected == set(spec["expected"]["selected_series"])
    assert all(s["reason"] for s in answer["series"])


def test_phases_with_images_and_seconds(answered: tuple[dict, dict]) -> None:
    """The phases in order, each with exactly its images: one image of another phase spoils every kinetic curve."""
    spec, answer = answered
    expected = spec["expected"]["dce"]
    if expected is None:
        assert answer["dce"] is None
        return
    sides = expected.get("groups") or {expected.get("laterality", answer["dce"]["laterality"]): expected}
    dynamics = answer["dce"] if isinstance(answer["dce"], list) else [answer["dce"]]
    assert [dce["laterality"] for dce in dynamics] == list(sides)
    for dce, side in zip(dynamics, sides.values(), strict=True):
        assert [p["t_rel_s"] for p in dce["phases"]] == pytest.approx([p["t_rel_s"] for p in side["phases"]])
        assert [p["role"] for p in dce["phases"]] == [p["role"] for p in side["phases"]]
        for phase, wanted in zip(dce["phases"], side["phases"], strict=True):
            possible, again = images(spec, wanted["series"], wanted["select"]), spec["expected"].get("repeated", 0)
            assert named(phase["instances"]) <= possible
            assert len(possible) - len(named(phase["instances"])) in {0, again}


def test_diffusion_with_its_b_values_and_map(answered: tuple[dict, dict]) -> None:
    """The highest acquired b-value up to 1000, its trace images, and the map that belongs to it."""
    spec, answer = answered
    expected = spec["expected"]["dwi"]
    if expected is None:
        assert answer["dwi"] is None
        return
    assert answer["dwi"]["SeriesInstanceUID"] == uid(spec["id"], expected["series"])
    assert answer["dwi"]["b_values"] == expected["b_available"]
    assert answer["dwi"]["b_value"] == expected["chosen_b"]
    directions = 3 if "DWI_DIRECTIONS_ONLY" in spec["expected"]["problems"] else 1
    assert len(named(answer["dwi"]["instances"])) == directions * MOST_SLICES
    adc = expected["adc"] and uid(spec["id"], expected["adc"])
    assert (answer["adc"] and answer["adc"]["SeriesInstanceUID"]) == adc


def test_the_table_for_people_names_every_series(answered: tuple[dict, dict]) -> None:
    """`describe` is what an administrator reads: descriptions, roles, phases with seconds, problems in words."""
    _, answer = answered
    text = series_grouping.describe({"studies": [answer]})
    for series in answer["series"]:
        assert (series["SeriesDescription"] or "(no description)") in text
        assert series["role"] in text
    for problem in answer["problems"]:
        assert problem["message"] in text


def test_the_documented_schema_is_the_tested_one() -> None:
    """docs/grouping.md points integrators to a copy."""
    root = Path(__file__).parents[2]
    documented = root / "docs" / "grouping_report.schema.json"
    assert documented.read_bytes() == (root / "tests" / "data" / "grouping_report.schema.json").read_bytes()
