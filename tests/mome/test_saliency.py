"""Evidence that the saliency points at the lesion because of what the network learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from mome.cohort import Cohort
from mome.config import NetworkConfig
from mome.evaluation import saliency
from mome.evaluation.saliency import Target, cascade, evidence, from_cohort, hottest_voxel, mcnemar
from mome.explanation import Attribution
from mome.model import load
from mome.network import Mome
from mome.phantom import exam
from mome.preprocessing import prepare

SHAPE = (48, 24, 16)
SMALL = NetworkConfig(
    dim=16,
    heads=2,
    ffn=16,
    sparse_blocks=1,
    soft_blocks=1,
    adapter=4,
    experts=2,
    stem=(4, 8),
    dce_canvas=SHAPE,
    dwi_canvas=SHAPE,
    t2_canvas=SHAPE,
    dce_pool=(1, 1, 1),
    dwi_pool=(1, 1, 1),
    t2_pool=(1, 1, 1),
    shared_backbone=False,
)
LESION, DECOY = (30, 12, 8), (10, 12, 8)


@pytest.fixture
def network() -> Mome:
    torch.manual_seed(0)
    return Mome(SMALL).eval()


def ball(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    places = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.asarray(np.linalg.norm(places - np.array(centre), axis=-1) <= radius)


def target(seed: int = 0) -> Target:
    """A lesion, and a brighter vessel elsewhere; outside the breasts something brighter still."""
    dce = np.random.default_rng(seed).normal(0, 0.1, (6, *SHAPE)).astype(np.float32)
    dce += 2.0 * ball(LESION, 3) + 9.0 * ball(DECOY, 1)
    region = np.ones(SHAPE, bool)
    region[:, :4] = False
    dce[:, :, 0] = 50.0
    return Target({"dce": dce}, region, ball(LESION, 3))


def pointing(learned: Mome, at: tuple[int, int, int]) -> Callable[[Mome, Mapping[str, Any], np.ndarray], Attribution]:
    """In place of integrated gradients: the learned network points at a place, any other at noise."""

    def attributed(asked: Mome, _: Mapping[str, Any], region: np.ndarray) -> Attribution:
        rng = np.random.default_rng(abs(hash(float(next(asked.parameters()).sum().detach()))))
        voxels = rng.normal(0, 1, SHAPE).astype(np.float32)
        if asked is learned:
            voxels = ball(at, 3) * np.float32(5)
        return Attribution(voxels, 1.0, 0.02, 0.02, 8)

    return attributed


def test_a_map_that_finds_lesions_beats_the_brightest_voxel(network: Mome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve exams whose brightest voxel lies in a vessel: all hit by the map, none by brightness, p = 2 / 2^12."""
    monkeypatch.setattr(saliency, "attributed", pointing(network, LESION))
    found = evidence(network, [target(i) for i in range(12)], 12, threshold=-1.0, randomised=0)
    assert found["true_positives"] == found["hottest_voxel_inside"] == 12
    part = found["of_true_positives"]
    assert part["saliency"]["inside"] == 12
    assert part["brightest voxel"]["inside"] == 0
    assert part["net attribution"]["inside"] == 12
    assert part["against"]["brightest voxel"] == {"only_first": 12, "only_second": 0, "p": 2 / 2**12}
    assert found["median_completeness_gap"] == 0.02
    json.dumps(found, allow_nan=False)


def test_what_speaks_against_malignancy_is_taken_off_in_the_net_attribution(
    network: Mome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lesion that speaks both ways leaves nothing net; the shown map, of what speaks for it alone, still hits."""
    for_it, against = ball(LESION, 3) * np.float32(5), ball(LESION, 3) * np.float32(-6)
    both = np.where(np.indices(SHAPE).sum(axis=0) % 2 == 0, for_it, against) + ball((20, 18, 8), 1) * np.float32(0.5)
    monkeypatch.setattr(saliency, "attributed", lambda *_: Attribution(both, 1.0, 0.02, 0.02, 8))
    found = evidence(network, [target()], 1, threshold=-1.0, randomised=0)["all_cancers"]
    assert (found["saliency"]["inside"], found["net attribution"]["inside"]) == (1, 0)


def test_a_map_that_points_elsewhere_is_said_to(network: Mome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saliency, "attributed", pointing(network, (20, 18, 8)))
    found = evidence(network, [target()], 1, threshold=-1.0, randomised=0)
    assert (found["hottest_voxel_inside"], found["within_two_voxels"]) == (0, 0)


def test_true_positives_are_those_above_the_threshold(network: Mome, monkeypatch: pytest.MonkeyPatch) -> None:
    """None scores above 1: the hits of all cancers are still told, those of true positives are not."""
    monkeypatch.setattr(saliency, "attributed", pointing(network, LESION))
    found = evidence(network, [target()], 1, threshold=1.0)
    assert found["true_positives"] == 0
    assert found["all_cancers"]["saliency"]["inside"] == 1
    assert found["of_true_positives"] == {"exams": 0}
    assert found["randomisation"] == {"exams": 0, "stages": []}


def test_a_map_of_what_was_learned_is_lost_with_the_weights(network: Mome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adebayo et al. 2018: from the head down, each exam with other random weights."""
    monkeypatch.setattr(saliency, "attributed", pointing(network, LESION))
    found = evidence(network, [target(i) for i in range(8)], 8, threshold=-1.0)["randomisation"]
    assert found["exams"] == found["trained"]["inside"] == 8
    assert [stage["random"] for stage in found["stages"]] == [
        "head", "and soft blocks", "and sparse blocks", "everything",
    ]  # fmt: skip
    last = found["stages"][-1]
    assert last["inside"] <= 2
    assert (found["trained"]["net attribution"]["inside"], last["net attribution"]["inside"] <= 2) == (8, True)
    assert last["against_trained"]["p"] < 0.05
    assert abs(last["rank_correlation"]) < 0.3
    assert abs(last["rank_correlation_signed"]) < 0.3


def test_the_cascade_loses_more_and_more_and_keeps_the_original(network: Mome) -> None:
    """Values change their places within a tensor: their distribution stays, what they do is gone."""
    before = {name: p.clone() for name, p in network.named_parameters()}
    changed: list[set[str]] = []
    for _, random in cascade(network, seed=0):
        now = dict(random.named_parameters())
        changed.append({name for name, p in before.items() if not torch.equal(p, now[name])})
        weight = "beit3.dce_embed.cls_token"
        assert torch.equal(now[weight].flatten().sort().values, before[weight].flatten().sort().values)
    assert changed[0] == {"head.weight"} | ({"head.bias"} & changed[0])
    assert changed[0] < changed[1] < changed[2] < changed[3]
    assert not any(name.startswith("beit3.dce_embed.") for name in changed[2])
    assert all(torch.equal(before[name], p) for name, p in network.named_parameters())


def test_other_seeds_lose_otherwise(network: Mome) -> None:
    first, again, other = (next(iter(cascade(network, seed)))[1].head.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_hottest_voxel_lies_in_the_breasts() -> None:
    """What is hot behind the chest wall is no place for an overlay."""
    image = np.zeros(SHAPE)
    image[0, 0, 0], image[5, 20, 3] = 9.0, 1.0
    region = np.ones(SHAPE, bool)
    region[:, :4] = False
    assert hottest_voxel(image, region) == (5, 20, 3)


@pytest.mark.parametrize(("only_first", "only_second"), [(8, 1), (3, 3), (0, 5), (0, 0)])
def test_mcnemars_test_is_the_exact_one(only_first: int, only_second: int) -> None:
    """Binomial among the exams where the two rules differ; those where they agree say nothing."""
    first = np.array([True] * only_first + [False] * only_second + [True, False] * 5)
    second = np.array([False] * only_first + [True] * only_second + [True, False] * 5)
    uneven = only_first + only_second
    expected = binomtest(only_first, uneven).pvalue if uneven else 1.0
    assert mcnemar(first, second) == {"only_first": only_first, "only_second": only_second, "p": expected}


def test_a_cohort_knows_its_lesions_as_balls(synthetic_cohort: Cohort) -> None:
    """Centre and radius come from the planted truth; withheld exams and exams without cancer take no part."""
    targets = from_cohort(synthetic_cohort, 100)
    used = [case for case in synthetic_cohort.cases if case.malignant and case.status == "used"]
    assert len(targets) == len(used)
    ml = np.array([found.lesion.sum() * 3.5 * 3.5 * 5.0 / 1000 for found in targets])
    assert np.all((ml > 1.5) & (ml < 25))  # radius 8.5 to 17 mm, scaled where a breast is too wide for the canvas
    assert np.mean([found.region[found.lesion].mean() for found in targets]) > 0.9


def test_a_cohort_without_truth_has_no_places(synthetic_cohort: Cohort) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="not known"):
        from_cohort(replace(synthetic_cohort, truth=None), 1)


def test_a_rival_is_no_target() -> None:
    """Two lesions drawn, one a cancer: only that one counts as found."""
    model = load()
    (alone,), (beside,) = (list(saliency.from_seeds(model, 1, 5_700_000, rival=rival)) for rival in (False, True))
    made = next(
        e for s in range(5_700_000, 5_700_099) if not (e := exam(s, malignant=True, lesions=2)).lesions[1].malignant
    )
    prepared = prepare(made.inputs, model.preprocessing)
    both = made.lesion_share(prepared.affines["dce"], beside.lesion.shape) > 0.5
    assert 0 < beside.lesion.sum() < both.sum()
    assert alone.lesion.any()


def test_the_shipped_weights_find_a_synthetic_cancer() -> None:
    """The whole way once: rendered, prepared, scored, attributed."""
    found = saliency.saliency_evidence(load(), n=1, seed=5_500_000, randomised=0)
    assert found["hottest_voxel_inside"] == found["true_positives"] == 1
    assert found["blind_choice"] < 0.05
