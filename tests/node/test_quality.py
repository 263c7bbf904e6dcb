"""No score without proof that contrast arrived."""

from __future__ import annotations

import numpy as np

from mome_node.analysis import quality
from mome_node.volume import Volume

LIMITS = {"enhancement_p99": {"low": 0.3}, "enhancement_asymmetry": {"low": 3.0}}


def exam(post_minus_pre: float, seed: int = 0) -> Volume:
    """A body of signal 100 with noise; a heart of a tenth of its volume gains `post_minus_pre`."""
    rng = np.random.default_rng(seed)
    body = np.zeros((48, 48, 24), np.float32)
    body[4:44, 4:44] = 100
    heart = np.zeros_like(body)
    heart[20:34, 20:34] = post_minus_pre
    phases = np.stack([body, body + heart, body + heart]) + rng.normal(0, 3, (3, *body.shape))
    return Volume(phases.astype(np.float32), np.diag([2.5, 2.5, 2.5, 1.0]))


def codes(dce: Volume) -> list[str]:
    return [problem.code for problem in quality.problems(quality.measure(dce), LIMITS)]


def test_contrast_that_arrived_is_seen() -> None:
    assert codes(exam(150)) == []


def test_a_failed_injection_ends_the_analysis() -> None:
    """Two equal phases: a model would score noise."""
    assert codes(exam(0)) == ["CONTRAST_NOT_SHOWN"]


def test_a_swapped_pre_and_post_is_not_contrast() -> None:
    """Taking a post-contrast phase for the pre-contrast one gives a confident wrong score: signal falls, not rises."""
    swapped = exam(150)
    assert codes(Volume(swapped.voxels[[1, 0, 2]], swapped.affine)) == ["CONTRAST_NOT_SHOWN"]


def test_the_scale_of_the_signal_does_not_matter() -> None:
    """Scanners have no common unit."""
    once, tenfold = quality.measure(exam(150)), quality.measure(Volume(exam(150).voxels * 10, exam(150).affine))
    assert abs(once["enhancement_p99"] - tenfold["enhancement_p99"]) < 1e-4


def test_air_alone_is_no_body() -> None:
    """An empty volume has no enhancement, and no division by zero."""
    empty = Volume(np.zeros((3, 16, 16, 8), np.float32), np.eye(4))
    assert codes(empty) == ["CONTRAST_NOT_SHOWN"]


def test_the_message_names_what_was_measured() -> None:
    (problem,) = quality.problems(quality.measure(exam(0)), LIMITS)
    assert "enhancement_p99" in problem.message
    assert problem.severity == "error"
