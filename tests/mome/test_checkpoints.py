"""Checkpoints of others are read, whatever was saved beside the tensors, and nothing in them is run."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mome.checkpoints import read_checkpoint
from mome.config import DEMONSTRATION, PreprocessingConfig
from mome.network import Mome
from mome.weights import (
    WeightsError,
    save,
)


class Attack:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "run"))


@pytest.mark.parametrize("pickled", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, pickled: Callable[[Any, Path], None]) -> None:
    """A pickle can run anything on the machine that holds the patients' images."""
    path, proof = tmp_path / "model.pth", tmp_path / "proof"
    pickled({"state_dict": {"head.weight": torch.zeros(2, 768)}, "extra": Attack(proof)}, path)
    with pytest.raises(WeightsError, match=r"model.pth was not opened: it holds"):
        read_checkpoint(path)
    assert not proof.exists()


def test_a_whole_network_as_an_object_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"more than tensors and plain values \(torch.nn.modules.linear.Linear\)"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_damaged_and_unknown_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(WeightsError, match="no checkpoint at"):
        read_checkpoint(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(WeightsError, match=f"model{suffix}"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["model.th", "model.TH", "model.ckpt", "model.bin", "model", "model.safetensors"])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_tensors_are_read_from_every_format(tmp_path: Path, form: str, name: str) -> None:
    """`torch.save` of today, of before 2020, and safetensors; what a file is called says nothing."""
    path, tensors = tmp_path / name, {"a": torch.arange(3.0)}
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    assert torch.equal(read_checkpoint(path)["a"], tensors["a"])


@pytest.mark.parametrize("zipped", [True, False])
def test_options_and_best_values_beside_the_tensors_do_no_harm(tmp_path: Path, zipped: bool) -> None:
    """Trainings save their command line and their best AUC, often as a number of numpy, of today's or an old one."""
    path = tmp_path / "model.th"
    beside = {"args": argparse.Namespace(lr=1e-4, size=[384, 256], seed=np.int64(3)), "best": np.float64(0.91)}
    torch.save({"state_dict": {"a": torch.arange(3.0)}, **beside}, path, _use_new_zipfile_serialization=zipped)
    if not zipped:
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    allowed = torch.serialization.get_safe_globals()
    assert torch.equal(read_checkpoint(path)["state_dict"]["a"], torch.arange(3.0))
    assert not [known for known in torch.serialization.get_safe_globals() if known not in allowed], (
        "for this file alone"
    )


@pytest.mark.parametrize("beside", [np.zeros(2), Path("a"), np.random.default_rng])
def test_nothing_else_is_allowed_beside_the_tensors(tmp_path: Path, beside: Any) -> None:
    torch.save({"state_dict": {"a": torch.arange(3.0)}, "extra": beside}, tmp_path / "model.th")
    with pytest.raises(WeightsError, match=r"more than tensors and plain values"):
        read_checkpoint(tmp_path / "model.th")


def test_a_file_of_ours_is_not_imported_again(tmp_path: Path) -> None:
    """It would lose its card, and with it what it was evaluated on."""
    path = tmp_path / "ours.safetensors"
    save(path, Mome(DEMONSTRATION), PreprocessingConfig(), {"name": "MOME"})
    with pytest.raises(WeightsError, match="already"):
        read_checkpoint(path)
