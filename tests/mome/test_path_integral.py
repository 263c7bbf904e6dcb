"""Steps go where the score changes; what is stated about the sum is what it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mome.path_integral import FIRST_NODES, Node, Sample, integrate


def sampled(score: Callable[[float], float], slope: Callable[[float], float], asked: list[float]) -> Sample:
    """A path over two voxels, of which the second takes three quarters of the slope."""

    def sample(positions: list[float]) -> list[Node]:
        asked.extend(positions)
        shares = [np.float32([0.25, 0.75]) * np.float32(slope(at)) for at in positions]
        return [Node(at, score(at), s, float(s.sum())) for at, s in zip(positions, shares, strict=True)]

    return sample


def test_an_even_rise_needs_the_first_nodes_only() -> None:
    asked: list[float] = []
    found = integrate(sampled(lambda x: 2 * x - 1, lambda x: 2.0, asked), budget=48)
    np.testing.assert_allclose(found.voxels, [0.5, 1.5], rtol=1e-6)
    assert (found.rise, found.nodes, len(asked)) == (2, FIRST_NODES, FIRST_NODES)
    assert found.gap == pytest.approx(0, abs=1e-6)


def steep(x: float) -> float:
    """Nearly all of the change lies about x = 0.03, as from an almost empty volume."""
    return float(1 / (1 + np.exp(-(x - 0.03) / 0.004)))


def slope_of_steep(x: float) -> float:
    return steep(x) * (1 - steep(x)) / 0.004


def test_nodes_go_where_the_score_rises() -> None:
    """Even steps would miss a rise that is narrower than a step, and no sum would tell where it came from."""
    asked: list[float] = []
    found = integrate(sampled(steep, slope_of_steep, asked), budget=48)
    assert found.gap is not None
    assert found.gap <= 0.05
    assert found.nodes < 20
    assert max(asked[FIRST_NODES:]) < 0.15, "nothing was spent on the even part"
    even = np.linspace(0, 1, found.nodes)
    missed = np.trapezoid([slope_of_steep(x) for x in even], even)
    assert abs(missed - found.rise) > 0.05 * found.rise


def test_errors_that_cancel_do_not_end_the_search() -> None:
    """Slopes too low in one half and too high in the other sum up by chance; the voxels would still be wrong."""
    asked: list[float] = []
    found = integrate(sampled(lambda x: x + 10 * (x - 0.5) ** 4, lambda x: 1 + 40 * (x - 0.5) ** 3, asked), budget=48)
    assert found.gap == pytest.approx(0, abs=1e-6), "of the first nodes too: the path is symmetric"
    assert found.nodes > FIRST_NODES
    assert found.unsettled is not None
    assert 0 < found.unsettled <= 0.1


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_budget_holds_and_the_gap_is_told(at_once: int) -> None:
    """A path that does not settle costs what was allowed, and the reader sees how far the sum is off."""
    asked: list[float] = []
    found = integrate(sampled(lambda x: x, lambda x: 2.0, asked), budget=20, at_once=at_once)
    assert found.nodes == len(asked) == 20
    assert found.gap == pytest.approx(1)
    assert found.unsettled == pytest.approx(1)


def test_without_a_rise_there_is_no_gap() -> None:
    """A ratio to nothing is no number; zero would claim that something was explained."""
    found = integrate(sampled(lambda x: 1.0, lambda x: 0.0, []), budget=8)
    assert (found.rise, found.gap, found.unsettled) == (0, None, None)


def test_a_path_has_two_ends() -> None:
    with pytest.raises(ValueError, match="two ends"):
        integrate(sampled(steep, slope_of_steep, []), budget=1)
