"""One small synthetic cohort for all tests of the model that need exams with labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mome import cohort
from mome.cohort import Case, Cohort, Row
from mome.config import PreprocessingConfig
from mome.phantom.cohorts import rows
from mome.phantom.design import CLINIC, Design
from mome.phantom.labels import case_of

SEEDS = range(9_100_000, 9_100_040)
DESIGN = replace(CLINIC, name="of the tests", broken_off=0.0)
WITHHELD = (5, 17, 29)
"""Places in the cohort of exams outside the range of evaluation."""


def left_out(seed: int, status: cohort.Status, reason: str) -> Case:
    return replace(case_of(seed, design=DESIGN), status=status, reason=reason, sequences=())


def all_rows(design: Design) -> Iterator[Row]:
    for index, row in enumerate(rows(SEEDS, design=design, processes=1)):
        outside = replace(row.case, status="withheld", reason="motion_mm 3.1 is above 2.0")
        yield replace(row, case=outside) if index in WITHHELD else row
    yield Row(left_out(9_100_040, "rejected", "NO_CONTRAST: the dynamic shows no enhancement"))
    yield Row(left_out(9_100_041, "rejected", "NO_DCE: there is no dynamic series"))
    yield Row(left_out(9_100_042, "rejected", "PHASES: the dynamic has two phases"))
    yield Row(left_out(9_100_043, "failed", "the volumes could not be decoded"))


@pytest.fixture(scope="session")
def synthetic_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """40 synthetic exams of the clinic's kind with all labels: three sites, normal exams, missing DWI or T2, some
    withheld; beside them four cases without volumes. Read it, never write into its folder."""
    return cohort.write(
        tmp_path_factory.mktemp("synthetic") / "cohort",
        all_rows(DESIGN),
        name="tests",
        synthetic=True,
        preprocessing=PreprocessingConfig(),
        capacity=len(SEEDS),
        origin={"first_seed": SEEDS.start, "count": len(SEEDS), "lesions": 1, "fine": False},
    )
