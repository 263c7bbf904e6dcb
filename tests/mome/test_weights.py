"""A weights file is used whole and unaltered, or not at all; its card is read without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mome.config import DEMONSTRATION, PreprocessingConfig
from mome.network import Mome
from mome.weights import DEMONSTRATION_WEIGHTS, WeightsError, load, read_card, save, sha256, verify


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save(path, Mome(DEMONSTRATION), PreprocessingConfig(), {"name": "MOME", "status": "untrained"})
    return path


def rewritten(path: Path, change: str) -> None:
    """The file with other tensors but the same header texts, and its hash noted anew."""
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    tensors = load_file(path)
    if change == "missing":
        del tensors["head.weight"]
    elif change == "unexpected":
        tensors["tail.weight"] = torch.zeros(1)
    elif change == "shape":
        tensors["head.weight"] = torch.zeros(3, DEMONSTRATION.dim)
    else:
        tensors["head.bias"] = torch.full((2,), float("nan"))
    save_file(tensors, path, metadata)
    path.with_name(path.name + ".sha256").write_text(f"{sha256(path)}  {path.name}\n")


def test_what_was_saved_is_loaded(saved: Path) -> None:
    """Half precision on disk, single in memory; card and configurations come back with the file's own hash."""
    network, header = load(saved)
    assert header.network == DEMONSTRATION
    assert header.preprocessing == PreprocessingConfig()
    assert header.card == {"name": "MOME", "status": "untrained", "weights_sha256": sha256(saved)}
    torch.manual_seed(0)
    for name, tensor in Mome(DEMONSTRATION).state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor.half().float())
    assert saved.stat().st_size < 5 * 2**20


def test_an_altered_file_is_refused(saved: Path) -> None:
    """One flipped bit in a tensor changes scores silently; the noted hash shows it."""
    content = bytearray(saved.read_bytes())
    content[-100] ^= 1
    saved.write_bytes(content)
    for use in (verify, load, read_card):
        with pytest.raises(WeightsError, match="altered"):
            use(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", r"1 missing \(head.weight\)"),
        ("unexpected", r"1 unexpected \(tail.weight\)"),
        ("shape", r"1 of another shape \(head.weight\)"),
        ("nan", "not numbers"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved: Path, change: str, said: str) -> None:
    """The published loader prints such things and goes on with random weights; this one does not."""
    rewritten(saved, change)
    with pytest.raises(WeightsError, match=said):
        load(saved)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 200, b"PK\x03\x04" + b"\0" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Never unpickled, never guessed: only safetensors with a header of ours."""
    path = tmp_path / "model.th"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        load(path)


def test_a_file_cut_short_is_refused(saved: Path) -> None:
    saved.with_name(saved.name + ".sha256").unlink()
    saved.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="cut short"):
        load(saved)


def test_no_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There are no weights"):
        load(tmp_path / "nothing.safetensors")


def test_the_card_is_read_without_torch() -> None:
    """The command line and the receivers show the model's identity; loading torch for that takes seconds and memory."""
    program = (
        "import sys; from mome.weights import read_card, DEMONSTRATION_WEIGHTS;"
        "card = read_card(DEMONSTRATION_WEIGHTS); assert 'torch' not in sys.modules; print(card['status'])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "not for clinical use" in said


def test_the_demonstration_card_says_what_the_weights_are() -> None:
    """Whoever reads a result must learn that no patient was ever involved."""
    card = read_card(DEMONSTRATION_WEIGHTS)
    assert card["status"] == "demonstration weights, trained on synthetic phantoms, not for clinical use"
    assert card["evaluated_on_patients"] is False
    assert "auxiliary targets" in card["trained_on"]
    assert card["weights_sha256"] == sha256(DEMONSTRATION_WEIGHTS)
    assert DEMONSTRATION_WEIGHTS.stat().st_size < 5 * 2**20
    for point in card["operating_points"]:
        assert "synthetic" in point["cohort"]
        assert point["cancers_at_or_below"] <= 0.02 * point["cancers"]
        assert point["cancers_at_or_below"] / point["cancers"] < point["upper_limit_95"] < 0.1
        assert point["key"]["preprocessing"] == PreprocessingConfig().hash()
        assert "dce" in point["key"]["sequences"]


def test_the_weights_belong_to_this_preprocessing() -> None:
    """Weights trained behind other constants would be scored on pictures they never saw."""
    _, header = load(DEMONSTRATION_WEIGHTS)
    assert header.preprocessing == PreprocessingConfig()
    assert header.network == DEMONSTRATION
    assert header.card["preprocessing"]["hash"] == PreprocessingConfig().hash()
