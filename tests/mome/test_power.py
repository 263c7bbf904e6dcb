"""How many exams a claim needs, and when an operating point supports one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from scipy.stats import binom

from mome.cohort import Case
from mome.commands.power import power as command
from mome.evaluation.power import allowed, claim, needed, of_cohort, supports_claim, table


def test_149_downgraded_without_a_cancer_claim_two_percent() -> None:
    """0.98 to the power of 149 is the first below 5 %."""
    assert needed() == 149
    assert 0.98**149 < 0.05 < 0.98**148


@pytest.mark.parametrize(("cancers", "share", "confidence"), [(1, 0.02, 0.95), (3, 0.02, 0.95), (2, 0.05, 0.9)])
def test_with_cancers_among_them_more_are_needed(cancers: int, share: float, confidence: float) -> None:
    """So many that, were the share just reached, as few cancers would be seen in less than 5 of 100 cohorts."""
    n = needed(cancers, share, confidence)
    assert binom.cdf(cancers, n, share) <= 1 - confidence < binom.cdf(cancers, n - 1, share)
    assert allowed(n, share, confidence) == cancers
    assert allowed(n - 1, share, confidence) == cancers - 1


def test_too_few_exams_allow_no_cancer_and_support_nothing() -> None:
    assert allowed(148) is None
    assert [row["downgraded"] for row in table(2)] == [149, 236, 313]


def test_the_paper_s_own_count_supports_no_such_claim() -> None:
    """None missed among eight downgraded: up to 31 of 100 such exams may be cancers."""
    found = claim(0, 8)
    assert not found["supported"]
    assert found["upper_limit"] == pytest.approx(1 - 0.05 ** (1 / 8))
    assert "it takes 149 downgraded exams" in found["words"]
    assert claim(0, 149)["supported"] and claim(0, 149)["words"].startswith("Shown")


def test_only_birads_4_exams_support_a_claim_about_them() -> None:
    """A threshold chosen on all exams was met by few hard ones."""
    assert not claim(0, 5000, population="all exams")["supported"]


def point(**changes: Any) -> dict[str, Any]:
    return {
        "population": "BI-RADS 4",
        "cancers_at_or_below": 0,
        "benign_at_or_below": 149,
        "claim": claim(0, 149),
    } | changes


def test_a_point_is_believed_by_its_counts() -> None:
    """Not by the word `supported` in it; one without counts supports nothing."""
    assert supports_claim(point())[0]
    assert not supports_claim(point(benign_at_or_below=100))[0]
    assert not supports_claim(point(cancers_at_or_below=1))[0]
    assert not supports_claim({"threshold": 0.1})[0]


def test_a_tuning_cohort_is_told_what_it_can_support() -> None:
    """298 benign BI-RADS 4 exams: a point that frees half of them and misses no cancer suffices; 100 never do."""
    many = [Case(f"c{i}", f"p{i}", f"s{i}", birads="4A", malignant=i >= 298) for i in range(400)]
    found = of_cohort([*many, Case("x", "x", "x", birads="5", malignant=True)])
    assert (found["birads_4"], found["benign"], found["cancers"]) == (400, 298, 102)
    assert found["freed_at_least"] == pytest.approx(0.5)
    assert of_cohort(many[:100])["freed_at_least"] is None


def test_the_command_says_it_to_people_and_programs() -> None:
    told = CliRunner().invoke(command, [])
    assert "149 downgraded exams, of which none malignant" in told.output
    said = json.loads(CliRunner().invoke(command, ["--missed", "0.05", "--missed-observed", "1", "--json"]).output)
    assert said["downgraded"] == needed(1, 0.05) == said["table"][1]["downgraded"]
    assert CliRunner().invoke(command, ["--missed", "2"]).exit_code == 2


@pytest.mark.parametrize("wrong", [(0, 0.0, 0.95), (0, 0.02, 1.0), (-1, 0.02, 0.95)])
def test_a_claim_of_nothing_is_refused(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        needed(*wrong)
