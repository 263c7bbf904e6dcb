"""The answer depends on what the images are, never on how they came: order, file names and InstanceNumbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mome_node.analysis import headers
from mome_node.analysis.series_grouping import group

from .make_study import write_study
from .plain_study import B0, B800, BESIDE, DWI, LEFT, RIGHT, TIMES, at, instance, series, study, uid
from .test_grouping_examples import EXAMPLES, thinned

RENAMED = ("ST01", "ST10")  # an archive without times, and one without descriptions in which images came twice


@pytest.fixture(scope="module", params=RENAMED)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict]:
    """Files of a study, and the answer to them."""
    folder = tmp_path_factory.mktemp(request.param)
    write_study(thinned(EXAMPLES[request.param]), folder, rows=8, cols=8)
    (whole,), _ = headers.read_folder(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file()), group(whole)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_names_and_folders_of_files_do_not_matter(
    written: tuple[list[Path], dict], tmp_path_factory: pytest.TempPathFactory, random: Any
) -> None:
    """Archives name files by hash, by date or by counter, with or without an ending, in one folder or in many."""
    files, answer = written
    elsewhere = tmp_path_factory.mktemp("renamed")
    for n, name in enumerate(random.sample(range(10**6), len(files))):
        folder = elsewhere / str(random.randrange(4))
        folder.mkdir(exist_ok=True)
        (folder / f"{name}{random.choice(['', '.dcm', '.IMA'])}").hardlink_to(files[n])
    (whole,), unusable = headers.read_folder(elsewhere)
    assert unusable == []
    assert group(whole) == answer


def two_slabs() -> list:
    return [
        instance(dict(i.attributes), (5, "SAG", None), side, n)
        for side, where in (("R", RIGHT), ("L", LEFT))
        for n, i in enumerate(series(5, "SAG", TIMES, **where))
    ]


def sent_twice() -> list:
    dce = series(5, "dyn", TIMES)
    return [*dce, *(instance(dict(i.attributes), (5, "dyn", None), "again", n) for n, i in enumerate(dce[5:9]))]


LAYOUTS = {
    "one series": lambda: [series(5, "dyn", TIMES)],
    "one series per phase": lambda: [series(5 + n, "dyn", [{"AcquisitionNumber": n}], key=n) for n in range(5)],
    "pre and posts": lambda: [series(5, "pre", [at(0)]), series(6, "post", [at(200), at(290), at(380)])],
    "two slabs": lambda: [two_slabs()],
    "images twice": lambda: [sent_twice()],
    "directions": lambda: [series(5, "dyn", TIMES), series(7, "diff", [B0, B800, B800, B800], kind=DWI)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_neither_order_nor_instance_numbers_matter(layout: str, random: Any) -> None:
    """Some scanners number their images at random, some number every phase anew, and a network delivers as it likes."""
    whole = study(*LAYOUTS[layout](), *BESIDE)
    shuffled = random.sample(whole.instances, len(whole.instances))
    numbers = [random.choice([None, random.randrange(500)]) for _ in shuffled]
    renumbered = [
        replace(i, attributes={**i.attributes, "InstanceNumber": number} if number is not None else i.attributes)
        for i, number in zip(shuffled, numbers, strict=True)
    ]
    assert group(replace(whole, instances=tuple(renumbered))) == group(whole)


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_other_uids_change_no_role_and_no_phase(random: Any) -> None:
    """De-identification replaces every UID, and with them the order in which images are looked at."""
    whole = study(series(5, "dyn", TIMES), *BESIDE)
    salt = random.random()
    anew = [
        replace(i, sop_instance_uid=uid(salt, i.sop_instance_uid), series_instance_uid=uid(salt, i.series_instance_uid))
        for i in whole.instances
    ]
    answer, same = (group(study(instances)) for instances in (whole.instances, anew))
    assert [(s["SeriesNumber"], s["role"], s["selected"]) for s in answer["series"]] == [
        (s["SeriesNumber"], s["role"], s["selected"]) for s in same["series"]
    ]
    known = {uid(salt, i.sop_instance_uid): i.sop_instance_uid for i in whole.instances}
    for phase, other in zip(answer["dce"]["phases"], same["dce"]["phases"], strict=True):
        assert phase["t_rel_s"] == other["t_rel_s"]
        assert {r["SOPInstanceUID"] for r in phase["instances"]} == {
            known[r["SOPInstanceUID"]] for r in other["instances"]
        }
