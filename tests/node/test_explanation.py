"""The hottest drawn voxel lies at the right millimetre."""

from __future__ import annotations

import numpy as np
import pytest

from mome_node.analysis import explanation
from mome_node.volume import Volume

PLANES = {
    "axial": np.diag([1.5, 1.5, 3.0]),
    "axial, rows flipped": np.diag([1.5, -1.5, 3.0]),
    "sagittal": np.array([[0, 0, -3.0], [1.5, 0, 0], [0, -1.5, 0]]),
    "coronal": np.array([[1.5, 0, 0], [0, 0, 3.0], [0, -1.5, 0]]),
    "oblique": np.array([[1.5, 0, 0], [0, 1.5 * 0.96, -3.0 * 0.28], [0, 1.5 * 0.28, 3.0 * 0.96]]),
}


def grid(axes: np.ndarray) -> Volume:
    """A dynamic series centred at the patient's origin."""
    shape = (80, 80, 40)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = -axes @ ((np.array(shape) - 1) / 2)
    return Volume(np.zeros((2, *shape), np.float32), affine)


@pytest.mark.parametrize("plane", PLANES)
def test_saliency_is_drawn_where_the_model_saw_it(plane: str) -> None:
    """The model works on its own grid in patient axes; the pictures are drawn on the grid of the scanner."""
    affine = np.diag([3.5, 3.5, 4.5, 1.0])
    affine[:3, 3] = (-60, -60, -60)
    hot = np.zeros((36, 36, 28), np.float32)
    hot[28, 9, 16] = 1  # at (38, -28.5, 12) mm: the patient's left, in front, above
    evidence = {"saliency": hot, "saliency.affine": affine, "mask": np.ones_like(hot), "mask.affine": affine}

    dce = grid(PLANES[plane])
    place = explanation.most_salient(explanation.map_evidence(evidence, dce)["saliency"], dce)

    assert place is not None
    np.testing.assert_allclose(place.point, (38, -28.5, 12), atol=2.1)  # one voxel of the scanner's grid


def test_nothing_is_drawn_outside_the_analysed_region() -> None:
    """Saliency on the chest wall or in the air would point at what the model did not see."""
    affine = np.eye(4)
    saliency, mask = np.ones((20, 20, 10), np.float32), np.zeros((20, 20, 10), np.float32)
    mask[:10] = 1
    evidence = {"saliency": saliency, "saliency.affine": affine, "mask": mask, "mask.affine": affine}
    mapped = explanation.map_evidence(evidence, Volume(np.zeros((2, 20, 20, 10), np.float32), affine))
    assert mapped["saliency"][:10].all()
    assert not mapped["saliency"][10:].any()


def test_without_saliency_there_is_no_place() -> None:
    assert explanation.most_salient(np.zeros((4, 4, 4), np.float32), grid(PLANES["axial"])) is None
