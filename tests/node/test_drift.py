"""The drift watch as a physicist may rely on it: rare false alarms, what it sees, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from mome_node.analysis.quality import MEASURES
from mome_node.drift import comparing, exact, metrics, words
from mome_node.drift.assessment import Assessment, assess
from mome_node.drift.comparing import Reference
from mome_node.ledger import Outcome
from mome_node.settings import Drift
from tests.node import drift_simulation as simulation
from tests.node.drift_simulation import BEGIN, SCANNERS, SEQUENCES, Change, card, hospital

CARD = card()


def after_weeks(weeks: int) -> datetime:
    return BEGIN + timedelta(weeks=weeks)


def assessed(change: Change | None = None, *, known: bool = True, **settings: object) -> Assessment:
    """Two scanners after eight weeks; in the last week `change` befell the first."""
    observed = hospital(3, 56, change=change, after=49)
    return assess(observed, CARD if known else None, Drift.model_validate(settings), after_weeks(8))


def warned(assessment: Assessment) -> set[tuple[float | None, str]]:
    return {(scanner.field_strength_t, one.quantity) for scanner, one in assessment.warnings}


# ------------------------------------------------------------------ the statistics
def test_values_beyond_a_known_limit_follow_the_binomial_law() -> None:
    """A reference of very many studies: its 95th percentile is exact."""
    assert exact.beyond(4, 12, 0.05) == pytest.approx(stats.binom.sf(3, 12, 0.05))
    assert exact.beyond(0, 12, 0.05) == 1.0


def test_a_limit_of_few_studies_is_uncertain_itself() -> None:
    """Forty studies do not know their own 95th percentile well: the same finding is less remarkable."""
    of_forty = exact.beyond(4, 12, 0.05, of=40)
    assert of_forty == pytest.approx(stats.betabinom.sf(3, 12, 0.05 * 41, 0.95 * 41))
    assert of_forty > 3 * exact.beyond(4, 12, 0.05)


def test_a_share_is_compared_exactly() -> None:
    table = [[6, 6], [1, 39]]
    assert exact.more(6, 12, 1, 40) == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


def test_several_looks_at_once_are_paid_for() -> None:
    """Holm: the smallest of m counts m times, the next m - 1 times, and never less than the one before."""
    assert exact.holm([0.01, 0.03, 0.005, 0.9]) == pytest.approx([0.03, 0.06, 0.02, 0.9])


def test_a_new_value_lies_below_a_quantile_as_often_as_it_says() -> None:
    """That makes the exceedance test exact for a scanner's own first studies, whatever they are distributed like."""
    rng = np.random.default_rng(1)
    below = [rng.lognormal() < exact.quantiles(rng.lognormal(size=39).tolist(), [0.75])[0.75] for _ in range(4000)]
    assert np.mean(below) == pytest.approx(0.75, abs=0.02)


def test_equal_values_are_in_their_range() -> None:
    """The dynamic always has six phases: no study lies beyond, also where one side was rounded."""
    reference = Reference("model", dict.fromkeys(comparing.LEVELS, 0.8333333), 100)
    assert comparing.values("canvas_scale", [0.833333] * 20, reference).p == 1.0
    assert comparing.values("canvas_scale", [0.7] * 20, reference).p < 1e-6


def test_a_change_that_concerns_nobody_is_no_warning() -> None:
    """With very many studies a shift by a tenth of the spread is no chance, and still no reason to call anybody."""
    rng = np.random.default_rng(2)
    reference = Reference.of_values(rng.normal(0, 1, 5000).tolist())
    assert comparing.values("motion_mm", rng.normal(0.1, 1, 5000).tolist(), reference).p == 1.0
    assert comparing.values("motion_mm", rng.normal(1, 1, 5000).tolist(), reference).p < 1e-6


@pytest.mark.parametrize(
    "entry", [None, {}, {"quantiles": {"0.5": "?"}}, {"quantiles": 3}, {"quantiles": {"0.9": 1.0}}]
)
def test_an_entry_that_cannot_be_read_is_no_reference(entry: object) -> None:
    assert Reference.of_card(entry) is None


# ------------------------------------------------------------------ false alarms
@pytest.mark.parametrize("known", [True, False], ids=["model file", "own first studies"])
def test_a_quiet_hospital_is_left_alone(known: bool) -> None:
    """Not more than about one false alarm in a year of two scanners: here three years, looked at every third day."""
    openings = 0
    for seed in range(3):
        looks = simulation.day_by_day(hospital(seed, 365), CARD if known else None, 1, 366, step=3)
        open_ones = [False, *(bool(look.warnings) for look in looks)]
        openings += sum(now and not before for before, now in pairwise(open_ones))
    assert openings <= 3


# ------------------------------------------------------------------ what is seen
@pytest.mark.parametrize(
    ("change", "quantities"),
    [
        (simulation.motion_doubled, {"motion_mm"}),
        (simulation.fat_suppression_fails, {"fat_signal", "fat_unevenness"}),
        (simulation.half_refused, {"refused"}),
        (simulation.phases_five, {"phases"}),
        (simulation.enhancement_weak, {"enhancement_p99", "enhancement_median"}),
        (simulation.diffusion_not_sent, {"incomplete"}),
    ],
)
def test_a_week_of_a_real_change_is_seen_on_its_scanner(change: Change, quantities: set[str]) -> None:
    """About twenty studies, and the other scanner stays quiet."""
    assert warned(assessed(change)) == {(1.5, quantity) for quantity in quantities}
    assert warned(assessed()) == set()


def test_without_a_reference_a_scanner_is_compared_with_its_own_first_studies() -> None:
    """Weights without distributions are no reason to see nothing; and the words do not claim a cohort."""
    found = assessed(simulation.enhancement_weak, known=False)
    assert warned(found) == {(1.5, "enhancement_p99"), (1.5, "enhancement_median")}
    assert "the model file holds no reference" in words.table(found)
    assert "in its first studies" in words.table(found)


def test_first_studies_are_not_compared_with_themselves() -> None:
    """A busy first week: forty studies are the baseline, and of the few after them nothing is said yet."""
    found = assess(hospital(3, 7, a_week=47), None, Drift(), after_weeks(1))
    assert [len(report.observations) > 40 for report in found.scanners] == [True, True]
    assert [report.compared for report in found.scanners] == [(), ()]


def test_a_name_is_not_compared_as_an_amount() -> None:
    """`motion_phase` says which phase moved most."""
    numbered = [replace(one, measures={**one.measures, "motion_phase": 3.0}) for one in hospital(3, 56)]
    found = assess(numbered, CARD, Drift(), after_weeks(8))
    assert "motion_phase" not in {one.quantity for report in found.scanners for one in report.compared}


def test_distributions_of_other_weights_are_no_reference() -> None:
    other = replace(CARD, weights_sha256="00" * 32)
    found = assess(hospital(3, 56), other, Drift(), after_weeks(8))
    assert not found.has_reference
    assert {one.against for report in found.scanners for one in report.compared} == {"earlier"}


def test_a_scanner_of_the_cohort_is_compared_with_its_like() -> None:
    """Where the model file tells the exams of such scanners apart, a 3 T scanner is not held against those of 1.5 T."""
    measure = CARD.distributions["quality"]["fat_signal"]
    bright = {q: value * 1.6 for q, value in measure["quantiles"].items()}
    entry = {**measure, "by": {"scanner: SYNTHETIC 3 T": {"n": 100, "quantiles": bright}}}
    apart = replace(CARD, distributions={"quality": {"fat_signal": entry}})
    assert warned(assess(hospital(3, 56), apart, Drift(), after_weeks(8))) == {(3.0, "fat_signal")}


def test_scores_that_are_made_otherwise_are_not_held_against_the_model_file() -> None:
    """A mean over augmented variants has another spread than what the file holds."""
    otherwise = [replace(one, making="paper-6 float32") for one in hospital(3, 56)]
    found = assess(otherwise, CARD, Drift(), after_weeks(8))
    (score, motion) = (
        next(one.against for one in found.scanners[0].compared if one.quantity.startswith(name))
        for name in ("score", "motion_mm")
    )
    assert (score, motion) == ("earlier", "model")


def test_new_software_begins_a_new_period() -> None:
    """Measures and refusals of two versions are not comparable; nothing is said before there are studies enough."""
    updated = [
        replace(one, software="mome-node 0.2.0") if one.received_at > after_weeks(7) + timedelta(days=2) else one
        for one in hospital(3, 56, change=simulation.half_refused, after=51)
    ]
    found = assess(updated, CARD, Drift(), after_weeks(8))
    assert found.not_compared > 0
    assert "refused" not in {one.quantity for report in found.scanners for one in report.compared}
    assert "ran under other weights or software: not compared" in words.table(found)


def test_too_few_studies_are_not_judged() -> None:
    observed = hospital(3, 56, a_week=1, change=simulation.half_refused, after=0)
    found = assess(observed, CARD, Drift(), after_weeks(8))
    assert [report.compared for report in found.scanners] == [(), ()]
    assert "too few studies to compare" in words.table(found)


def test_a_scanner_with_few_studies_is_judged_by_its_latest() -> None:
    """Four a week would never come to twelve in one."""
    found = assess(hospital(3, 140, a_week=4), CARD, Drift(), after_weeks(20))
    assert all(len(report.observations) >= 12 and report.begin < found.begin for report in found.scanners)


def test_what_the_node_fails_on_is_no_fault_of_a_scanner() -> None:
    observed = hospital(3, 56)
    failed = [replace(one, outcome=Outcome.FAILED, scores={}, measures={}, sequences="") for one in observed[-15:]]
    assert warned(assess([*observed[:-15], *failed], CARD, Drift(), after_weeks(8))) == set()


def test_only_what_a_site_asks_for_is_compared() -> None:
    found = assessed(simulation.motion_doubled, quantities=("score", "refused"))
    assert {one.quantity for one in found.scanners[0].compared} == {f"score {SEQUENCES}", "refused"}
    assert not found.warnings


# ------------------------------------------------------------------ words and metrics
def test_a_warning_says_what_was_found_where_and_what_to_check() -> None:
    """Numbers of the scanner and of the reference, a plain name, and the first things a physicist looks at."""
    table = words.table(assessed(simulation.fat_suppression_fails))
    assert "WARNING brightest fat: " in table
    assert "where 1% are expected; median" in table
    assert "Check fat suppression: method, shim, centre frequency" in table
    assert f"{SCANNERS[0]}" in table


def test_a_rise_of_refusals_names_their_reasons() -> None:
    table = words.table(assessed(simulation.half_refused))
    assert "WARNING studies not analysed: " in table
    assert "reasons: NO_DCE " in table


def test_every_measure_of_the_node_has_words() -> None:
    assert set(MEASURES) <= set(words.QUANTITIES)


def test_a_measure_of_a_model_is_watched_under_its_own_name() -> None:
    odd = [replace(one, measures={"breast_density": 1.0 + (n > 500)}) for n, one in enumerate(hospital(3, 120))]
    found = assess(odd, None, Drift(), BEGIN + timedelta(days=120))
    assert "WARNING breast_density: " in words.table(found)


def test_metrics_are_readable_by_prometheus() -> None:
    """Names, types and labels of the text format; a name with quotes does not break it."""
    loud = [replace(one, scanner=replace(one.scanner, model='The "Big"\\One')) for one in hospital(3, 56)]
    found = assess(loud, CARD, Drift(), after_weeks(8))
    text = metrics.text(found, {"analysed": 7}, {"waiting": 2}, 12)
    assert 'mome_node_analyses_total{outcome="analysed"} 7\n' in text
    assert 'mome_node_analyses_total{outcome="failed"} 0\n' in text
    assert 'mome_node_deliveries{state="waiting"} 2\n' in text
    assert "model=" in text.splitlines()[2]
    assert 'SYNTHETIC The \\"Big\\"\\\\One 1.5 T' in text
    assert 'measure="motion_mm",quantile="0.5"} 0.' in text
    assert text.count("# TYPE mome_node_quality gauge") == 1
    assert text.endswith("\n")


def test_metrics_do_not_show_the_numbers_of_single_studies() -> None:
    found = assess(hospital(3, 56, a_week=1), CARD, Drift(), after_weeks(8))
    text = metrics.text(found, {}, {}, 12)
    assert "mome_node_scanner_studies" in text
    assert "quantile" not in text


def test_metrics_say_which_warning_is_open() -> None:
    text = metrics.text(assessed(simulation.motion_doubled), {}, {}, 12)
    assert f'mome_node_drift_warning{{scanner="{SCANNERS[0]}",quantity="motion_mm"}} 1\n' in text
    assert f'mome_node_drift_warning{{scanner="{SCANNERS[1]}",quantity="motion_mm"}} 0\n' in text
    assert "mome_node_drift_warnings 1\n" in text
