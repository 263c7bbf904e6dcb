"""The model runs in a child process: what happens to it never happens to the node."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mome.phantom import exam
from mome_node.analysis.inference import ComputeChild, ModelInUse, load_volumes, save_volumes
from mome_node.errors import ComputeError
from mome_node.findings import ModelCard
from mome_node.settings import Model
from mome_node.volume import Volume


@pytest.fixture(scope="module")
def child() -> Iterator[ComputeChild]:
    with ComputeChild(Model(threads=1)) as compute:
        yield compute


def work_folder(folder: Path, seed: int = 31) -> Path:
    inputs = {role: Volume(v.voxels, v.affine, v.seconds) for role, v in exam(seed).inputs.items()}
    save_volumes(folder / "volumes.npz", inputs)
    return folder


def test_the_child_says_which_model_it_holds(child: ComputeChild, tmp_path: Path) -> None:
    """The other processes read the card without torch; it survives the way through a file."""
    model = child.model
    assert isinstance(model.card, ModelCard)
    assert len(model.card.weights_sha256) == 64
    model.write(tmp_path / "model.json")
    assert ModelInUse.read(tmp_path / "model.json").card.roles == model.card.roles


def test_a_prediction_is_two_whole_files(child: ComputeChild, tmp_path: Path) -> None:
    child.predict(work_folder(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"volumes.npz", "prediction.json", "evidence.npz"}
    with np.load(tmp_path / "evidence.npz", allow_pickle=False) as evidence:
        assert evidence["saliency"].shape == evidence["mask"].shape


def test_the_same_exam_gives_the_same_bytes(child: ComputeChild, tmp_path: Path) -> None:
    """A killed job that runs again must make the same object under the same UID."""
    folders = [tmp_path / "once", tmp_path / "twice"]
    for folder in folders:
        folder.mkdir()
        child.predict(work_folder(folder))
    once, twice = ((folder / "prediction.json").read_bytes() for folder in folders)
    assert once == twice


def test_a_model_that_refuses_is_an_answer(child: ComputeChild, tmp_path: Path) -> None:
    """No breast in the volume: a coded reason for the report, not a fault of the node."""
    empty = Volume(np.zeros((4, 48, 40, 20), np.float32), np.diag([4.0, 4.0, 5.0, 1.0]))
    save_volumes(tmp_path / "volumes.npz", {"dce": empty})
    child.predict(tmp_path)
    assert "BREAST_MASK_IMPLAUSIBLE" in (tmp_path / "prediction.json").read_text()


def test_a_killed_child_is_an_error_in_words_and_the_next_study_gets_a_new_one(
    child: ComputeChild, tmp_path: Path
) -> None:
    """What the kernel does when memory runs out."""
    assert child.model
    assert child._process is not None
    os.kill(child._process.pid, signal.SIGKILL)
    with pytest.raises(ComputeError, match="signal 9"):
        child.predict(work_folder(tmp_path))
    child.predict(tmp_path)
    assert (tmp_path / "prediction.json").exists()


def test_a_computation_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with (
        ComputeChild(Model(threads=1, timeout_s=0.01)) as compute,
        pytest.raises(ComputeError, match="longer than"),
    ):
        compute.predict(work_folder(tmp_path))


def test_altered_weights_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """One bit of difference: another model, which nobody evaluated."""
    from mome.weights import DEMONSTRATION_WEIGHTS, weights_file

    raw = bytearray(weights_file(DEMONSTRATION_WEIGHTS).read_bytes())
    altered = tmp_path / "altered.safetensors"
    altered.with_name(altered.name + ".sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  {altered.name}\n")
    raw[-1] ^= 1
    altered.write_bytes(raw)
    with ComputeChild(Model(weights=altered)) as compute, pytest.raises(ComputeError, match="altered"):
        assert compute.model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mome import bundle
    from mome.weights import DEMONSTRATION_WEIGHTS

    folder = tmp_path_factory.mktemp("model") / "folder"
    bundle.write(folder, DEMONSTRATION_WEIGHTS)
    return folder


def test_a_model_folder_gives_the_results_of_its_weights(child: ComputeChild, model_folder: Path) -> None:
    """Results are identified by the hash of the weights: the same ones in a folder make the same objects."""
    with ComputeChild(Model(weights=model_folder, threads=1)) as compute:
        assert compute.model == child.model


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("docs/README.md", "changed: docs/README.md"),
        ("models/more.safetensors", "added: models/more.safetensors"),
    ],
)
def test_an_altered_model_folder_is_refused_with_the_file_named(
    model_folder: Path, tmp_path: Path, name: str, said: str
) -> None:
    """Also where the weights are untouched: what a person reads there must be what their maker wrote."""
    folder = shutil.copytree(model_folder, tmp_path / "folder")
    (folder / name).write_text("altered")
    with ComputeChild(Model(weights=folder)) as compute, pytest.raises(ComputeError, match=said) as refused:
        assert compute.model
    assert refused.value.remedy == "Check model.weights, then try again."


def test_volumes_survive_the_work_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dce = Volume(rng.normal(size=(3, 4, 5, 6)).astype(np.float32), np.diag([1.0, 2.0, 3.0, 1.0]), (0.0, 90.0, 150.0))
    save_volumes(tmp_path / "volumes.npz", {"dce": dce})
    back = load_volumes(tmp_path / "volumes.npz")["dce"]
    np.testing.assert_array_equal(back.voxels, dce.voxels)
    np.testing.assert_array_equal(back.affine, dce.affine)
    assert back.seconds == dce.seconds


@pytest.mark.parametrize(
    "role", ["mome_node.receive.storage_scp", "mome_node.pipeline", "mome_node.cli", "mome_node.service"]
)
def test_only_the_child_loads_torch(role: str) -> None:
    """Torch costs memory and seconds, and can take a process down: grouping, receivers and orchestrator do without."""
    code = f"import sys, {role}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
