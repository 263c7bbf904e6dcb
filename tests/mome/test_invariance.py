"""What must not move the score of an exam: the order of sending, the gain, the plane, the matrix.

With the demonstration weights, on synthetic exams. What only renames voxels moves nothing; another matrix is another
picture of the patient, and moves the score a little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from mome.augmentation import scores
from mome.config import PAPER_PREPROCESSING
from mome.geometry import Grid, resample
from mome.model import MomeModel, load
from mome.phantom import PhantomExam, PhantomVolume, exam
from mome.preprocessing import prepare

from .volumes import PLANES, acquired

NOTHING = 1e-5
"""Sums in another order."""
SMALL_PAPER = dataclasses.replace(
    PAPER_PREPROCESSING,
    dce_matrix=(96, 96, 32),
    t2_matrix=(96, 96, 16),
    dce_canvas=(64, 64, 32),
    dwi_canvas=(64, 64, 32),
    t2_canvas=(96, 64, 24),
)
"""The paper's way at a quarter of its resolution; the DCE and DWI of most patients must shrink to fit."""


@pytest.fixture(scope="module")
def model() -> MomeModel:
    return load(threads=1)


@pytest.fixture(scope="module", params=[903, 906])
def patient(request: pytest.FixtureRequest) -> PhantomExam:
    return exam(request.param)


def score(model: MomeModel, inputs: Mapping[str, PhantomVolume]) -> float:
    found = scores(model.network, prepare(inputs, model.preprocessing), "none")
    return found.mean[found.coalitions[-1]]


def scanned(volume: PhantomVolume, factor: float) -> PhantomVolume:
    """In voxels larger or smaller in the plane, same field of view; averaged where they are larger."""
    grid = Grid(volume.affine, volume.voxels.shape[1:])
    w, h, d = grid.spacing
    other = grid.every((w * factor, h * factor, d))
    return dataclasses.replace(
        volume, voxels=resample(volume.voxels, grid.affine, other.affine, other.shape), affine=other.affine
    )


def test_the_order_of_the_phases(model: MomeModel, patient: PhantomExam) -> None:
    """Their clock orders them, bit for bit."""
    seconds = patient.dce.seconds
    assert seconds is not None
    order = np.random.default_rng(0).permutation(len(seconds))
    shuffled = PhantomVolume(patient.dce.voxels[order], patient.dce.affine, tuple(seconds[i] for i in order))
    assert score(model, {**patient.inputs, "dce": shuffled}) == score(model, patient.inputs)


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_the_gain_of_the_scanner(model: MomeModel, patient: PhantomExam, gain: float) -> None:
    """MR intensities have no unit; each sequence has a gain of its own."""
    for role, volume in patient.inputs.items():
        other = {**patient.inputs, role: dataclasses.replace(volume, voxels=volume.voxels * gain)}
        assert score(model, other) == pytest.approx(score(model, patient.inputs), abs=NOTHING)


@pytest.mark.parametrize("plane", [plane for plane in PLANES if plane != "axial"])
def test_the_plane_and_the_direction_of_its_axes(model: MomeModel, patient: PhantomExam, plane: str) -> None:
    other = {role: acquired(volume, plane) for role, volume in patient.inputs.items()}
    assert score(model, other) == pytest.approx(score(model, patient.inputs), abs=NOTHING)


@pytest.mark.parametrize("factor", [0.5, 0.8])
def test_the_matrix(model: MomeModel, patient: PhantomExam, factor: float) -> None:
    """Finer voxels of the same patient. The crop may start half a voxel elsewhere, and the score follows a little."""
    other = {role: scanned(volume, factor) for role, volume in patient.inputs.items()}
    assert score(model, other) == pytest.approx(score(model, patient.inputs), abs=0.04)


def test_a_coarser_matrix_of_a_fine_exam(model: MomeModel) -> None:
    """1.4 mm against 2.1 mm in the plane, as two scanners would have it."""
    fine = exam(6_000_001, fine=True)
    other = {role: scanned(volume, 1.5) for role, volume in fine.inputs.items()}
    assert score(model, other) == pytest.approx(score(model, fine.inputs), abs=0.04)


def test_the_network_takes_the_arrays_as_they_are(model: MomeModel, patient: PhantomExam) -> None:
    """Without augmentation the score is that of the prepared exam."""
    canvas = prepare(patient.inputs, model.preprocessing)
    with torch.inference_mode():
        logits = model.network(**{s: torch.from_numpy(a)[None] for s, a in canvas.arrays.items()})
    assert score(model, patient.inputs) == pytest.approx(float(logits.double().softmax(1)[0, 1]), abs=NOTHING)


# ------------------------------------------------------------------ the paper's way
def test_the_paper_s_way_has_the_arrays_of_any_gain(patient: PhantomExam) -> None:
    """Statistics over the crop, no clipping: the intensities still have no unit. Each sequence has its own gain."""
    before = prepare(patient.inputs, SMALL_PAPER)
    for role in patient.inputs:
        volumes = {**patient.inputs}
        volumes[role] = dataclasses.replace(volumes[role], voxels=volumes[role].voxels * 10)
        after = prepare(volumes, SMALL_PAPER)
        assert after.boxes == before.boxes
        assert np.array_equal(after.mask, before.mask)
        for sequence, array in before.arrays.items():
            assert np.allclose(after.arrays[sequence], array, rtol=0, atol=1e-4)


def test_the_paper_s_way_has_the_arrays_of_any_order_of_phases(patient: PhantomExam) -> None:
    """Bit for bit, also where the crop is shrunk to its canvas."""
    seconds = patient.dce.seconds
    assert seconds is not None
    order = np.random.default_rng(1).permutation(len(seconds))
    shuffled = PhantomVolume(patient.dce.voxels[order], patient.dce.affine, tuple(seconds[i] for i in order))
    before, after = (prepare({**patient.inputs, "dce": dce}, SMALL_PAPER) for dce in (patient.dce, shuffled))
    assert before.measures["canvas_scale"] < 1
    for sequence, array in before.arrays.items():
        assert np.array_equal(after.arrays[sequence], array)
