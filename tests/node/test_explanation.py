"""The hottest drawn voxel lies at the right millimetre."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from mome.model import MomeModel, load
from mome.phantom import PhantomExam, PhantomVolume, exam
from mome_node.analysis import explanation
from mome_node.findings import SalientPlace
from mome_node.volume import Volume
from tests.mome.volumes import acquired

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


# ------------------------------------------------------------------ from the scanner's grid to the model and back
CANCER = 5_600_049  # a synthetic exam that no training saw


def tilted(volume: PhantomVolume, degrees: float = 15) -> PhantomVolume:
    """The same patient on a grid that leans from the back to the head, about the same centre."""
    a = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    middle = (np.array(volume.voxels.shape[1:]) - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = turn * np.diag(volume.affine)[:3]
    affine[:3, 3] = volume.affine[:3, :3] @ middle + volume.affine[:3, 3] - affine[:3, :3] @ middle
    to_source = np.linalg.inv(volume.affine) @ affine
    channels = [ndimage.affine_transform(v, to_source[:3, :3], to_source[:3, 3], order=1) for v in volume.voxels]
    return dataclasses.replace(volume, voxels=np.stack(channels), affine=affine)


def drawn_hottest(model: MomeModel, made: PhantomExam, turn: Callable[[PhantomVolume], PhantomVolume]) -> SalientPlace:
    """Where the picture of the saliency is hottest on the grid of the scanner."""
    inputs = {role: turn(volume) for role, volume in made.inputs.items()}
    finding = model.predict(inputs)[0]
    evidence = {name: array for name, (array, _) in finding.evidence.items()}
    evidence |= {f"{name}.affine": affine for name, (_, affine) in finding.evidence.items()}
    dce = Volume(inputs["dce"].voxels, inputs["dce"].affine, inputs["dce"].seconds)
    place = explanation.most_salient(explanation.map_evidence(evidence, dce)["saliency"], dce)
    assert place is not None
    return place


def test_the_lesion_is_hottest_in_whatever_plane_it_was_acquired() -> None:
    """A synthetic cancer as axial, sagittal, coronal and oblique series: one place in the patient, in the lesion.

    The oblique series is another sampling of the patient, so its hottest voxel may be a neighbour on the canvas.
    """
    model, made = load(), exam(CANCER)
    turns = {plane: lambda v, plane=plane: acquired(v, plane) for plane in ("axial", "sagittal", "coronal")}
    found = {plane: drawn_hottest(model, made, turn) for plane, turn in {**turns, "oblique": tilted}.items()}
    for plane, place in found.items():
        voxel = np.eye(4)
        voxel[:3, 3] = place.point
        assert made.lesion_share(voxel, (1, 1, 1)).item() > 0.5, plane
    axial = np.array(found["axial"].point)
    np.testing.assert_allclose(found["sagittal"].point, axial, atol=0.1)
    np.testing.assert_allclose(found["coronal"].point, axial, atol=0.1)
    canvas_voxel = np.linalg.norm(model.preprocessing.dce_spacing)
    assert np.linalg.norm(np.array(found["oblique"].point) - axial) <= canvas_voxel
