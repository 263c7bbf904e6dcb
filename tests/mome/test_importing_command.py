"""`mome weights import` writes files that claim nothing, overwrites nothing, and names the checkpoint at fault."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from mome import backbone
from mome.card import IMPORTED_LIMITS
from mome.commands.main import main
from mome.config import DEMONSTRATION, PAPER_PREPROCESSING, NetworkConfig, PreprocessingConfig, Sequence, Size
from mome.network import Mome, is_backbone
from mome.weights import (
    WeightsError,
    load,
    load_family,
    read_card,
    read_header,
    save,
    sha256,
)

from .published_checkpoints import Tensors, checkpoint, filled, foundation, in_group, listed


@pytest.fixture
def mome() -> Tensors:
    return checkpoint()


@pytest.fixture
def beit3() -> Tensors:
    return foundation()


def mome_weights(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


@pytest.fixture(scope="module")
def family_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Malignancy and, from it, a triple-negative network with another head, at the paper's size: 480 MB."""
    folder = tmp_path_factory.mktemp("family")
    tensors = filled(listed("mome", "ABC"))
    tensors = {name: tensors[in_group(name, "A")] if is_backbone(name) else t for name, t in tensors.items()}
    torch.save({"epoch": 1, "state_dict": tensors}, folder / "model.th")
    torch.save({"epoch": 1, "state_dict": {**tensors, "head.bias": torch.ones(2)}}, folder / "tnbc.th")
    out = folder / "mome.safetensors"
    result = mome_weights("import", folder / "model.th", "--tnbc", folder / "tnbc.th", "--out", out)
    assert result.exit_code == 0, result.output
    assert sha256(out) in result.output
    yield out
    out.unlink()


def test_the_command_imports_a_family_and_verifies_it(family_file: Path) -> None:
    result = mome_weights("verify", family_file)
    assert result.exit_code == 0, result.output
    assert "complete: malignancy, tnbc" in result.output
    assert 120_458_114 * 4 < family_file.stat().st_size < 120_600_000 * 4, "one backbone, single precision"


def test_an_imported_card_claims_nothing(family_file: Path) -> None:
    """No operating point and no evaluated range: the node withholds every advice. What is known is the source file."""
    card = json.loads(mome_weights("show", family_file).output)
    assert card["status"] == "imported weights, preprocessing unverified, not evaluated; not for clinical use"
    assert card["evaluated_on_patients"] is False
    assert [card[key] for key in ("operating_points", "evaluated_range")] == [[], {}]
    assert card["quality_limits"] == IMPORTED_LIMITS, "without proof of contrast there is no score"
    assert card["origin"]["tnbc"] == {"file": "tnbc.th", "sha256": sha256(family_file.with_name("tnbc.th"))}
    assert [target["name"] for target in card["targets"]] == ["malignancy", "tnbc"]
    assert card["weights_sha256"] == sha256(family_file)
    assert card["preprocessing"]["hash"] == PAPER_PREPROCESSING.hash()


def test_imported_networks_share_the_memory_of_what_is_equal(family_file: Path, mome: Tensors) -> None:
    networks, header = load_family(family_file)
    assert header.network == NetworkConfig()
    assert header.preprocessing == PAPER_PREPROCESSING
    first, second = networks["malignancy"].state_dict(), networks["tnbc"].state_dict()
    assert {name for name in first if first[name].data_ptr() != second[name].data_ptr()} == {"head.bias"}
    assert torch.equal(second["head.bias"], torch.ones(2))
    for name in ("beit3.t2_embed.stem.6.weight", "beit3.encoder.layers.2.self_attn.k_proj.B.weight"):
        assert torch.equal(first[name], mome[name])


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("backbone")
    torch.save({"model": filled(listed("beit3", "AB"))}, folder / "beit3.pth")
    out = folder / "backbone.safetensors"
    result = mome_weights("import", folder / "beit3.pth", "--out", out)
    assert result.exit_code == 0, result.output
    assert "251 tensors that MOME does not use were left out" in result.output
    yield out
    out.unlink()


def test_a_backbone_file_is_no_model(backbone_file: Path) -> None:
    """Its adapters, tokenizers and head would be random numbers: a score from them looks like any other."""
    with pytest.raises(WeightsError, match=r"holds only the frozen backbone.*train first"):
        load(backbone_file)
    assert "not a model" in read_card(backbone_file)["status"]
    result = mome_weights("verify", backbone_file)
    assert result.exit_code == 0, result.output
    assert "complete: the frozen backbone" in result.output


def test_training_starts_from_a_backbone_file(backbone_file: Path, beit3: Tensors) -> None:
    """All sequences get it; what MOME adds keeps the values that it was initialised with."""
    with torch.device("meta"):
        network = Mome(NetworkConfig(dce_canvas=(96, 64, 32), dwi_canvas=(64, 32, 32), t2_canvas=(96, 64, 48)))
    network.to_empty(device="cpu")
    torch.nn.init.ones_(network.head.weight)
    backbone.start_from(network, backbone_file)
    for name, tensor in network.state_dict().items():
        if is_backbone(name):
            assert torch.equal(tensor, beit3[in_group(name, "A")])
    assert torch.equal(network.head.weight, torch.ones(2, 768))


def test_a_network_of_another_size_does_not_take_the_backbone(backbone_file: Path) -> None:
    with pytest.raises(WeightsError, match="does not fit"):
        backbone.start_from(Mome(DEMONSTRATION), backbone_file)


def test_weights_are_no_backbone(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    save(path, Mome(DEMONSTRATION), PreprocessingConfig(), {"name": "MOME"})
    with pytest.raises(WeightsError, match="not a backbone file"):
        backbone.start_from(Mome(DEMONSTRATION), path)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A checkpoint of which there is one tensor in memory; imported, it is refused."""
    torch.save({"state_dict": {"beit3.dce_embed.cls_token": torch.zeros(1)}}, tmp_path / "model.th")
    return tmp_path / "model.th"


def test_the_command_needs_no_name_to_write_to(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes the canvases that it is told, to the network and to its preprocessing alike."""
    canvases: dict[Sequence, Size] = {"dce": (96, 64, 32), "dwi": (64, 32, 32), "t2": (96, 64, 48)}

    def untrained(_: Path, sizes: dict[Sequence, Size]) -> Mome:
        config = {**dataclasses.asdict(DEMONSTRATION), **{f"{s}_canvas": size for s, size in sizes.items()}}
        return Mome(NetworkConfig(**config))

    monkeypatch.setattr("mome.importing.import_file", untrained)
    options = [part for s, size in canvases.items() for part in (f"--{s}", "x".join(map(str, size)))]
    result = mome_weights("import", short, *options)
    assert result.exit_code == 0, result.output
    header = read_header(short.with_suffix(".safetensors"))
    for sequence, size in canvases.items():
        assert header.network.canvas(sequence) == header.preprocessing.canvas(sequence) == size
    assert header.preprocessing == dataclasses.replace(
        PAPER_PREPROCESSING, **{f"{s}_canvas": size for s, size in canvases.items()}
    )
    assert header.card["preprocessing"]["hash"] == header.preprocessing.hash()


def test_the_command_overwrites_no_checkpoint(short: Path, tmp_path: Path) -> None:
    before = short.read_bytes()
    for arguments in ((short, "--out", short), (tmp_path / "other.th", "--pcr", short, "--out", short)):
        result = mome_weights("import", *arguments)
        assert result.exit_code == 1
        assert "model.th is the checkpoint itself and is not overwritten" in result.output
    named = short.rename(tmp_path / "model.safetensors")
    result = mome_weights("import", named)
    assert result.exit_code == 1
    assert "model.safetensors is there already" in result.output
    assert named.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dce", "384x256"], "'384x256' is not WxHxD"),
        (["--t2", "384x256x40"], "multiples of 16"),
    ],
)
def test_canvases_that_mean_nothing_are_refused(short: Path, options: list[str], said: str) -> None:
    result = mome_weights("import", short, *options)
    assert result.exit_code != 0
    assert said in result.output
    assert not short.with_suffix(".safetensors").exists()


def test_the_command_says_which_canvas_it_must_be_told(mome: Tensors, tmp_path: Path) -> None:
    """Nothing is inferred: 768 positions are those of many canvases."""
    mome["beit3.encoder.embed_positions.C.weight"] = torch.zeros(1, 1).expand(768, 768)
    torch.save(mome, tmp_path / "small.th")
    result = mome_weights("import", tmp_path / "small.th")
    assert result.exit_code == 1
    assert "small.th was trained at another size: T2 of 384 x 256 x 48 has 1152 positions" in result.output
    assert "--t2 WxHxD" in result.output
    assert not (tmp_path / "small.safetensors").exists()


def test_the_command_names_the_file_at_fault(tmp_path: Path) -> None:
    """Of three checkpoints given, which one?"""
    torch.save({"best": 0.9}, tmp_path / "empty.th")
    result = mome_weights("import", tmp_path / "empty.th")
    assert result.exit_code == 1
    assert "empty.th is no state dictionary: best" in result.output
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, tmp_path / "other.th")
    result = mome_weights("import", tmp_path / "other.th", "--out", tmp_path / "out.safetensors")
    assert result.exit_code == 1
    assert "other.th is not of MOME" in result.output
    torch.save({"model": filled(listed("beit3", "AB"))}, tmp_path / "beit3.th")
    result = mome_weights("import", tmp_path / "beit3.th", "--pcr", tmp_path / "other.th", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "beit3.th is BEiT-3" in result.output
    result = mome_weights("import", tmp_path / "beit3.th", "--dce", "96x64x32", "--out", tmp_path / "out")
    assert "beit3.th is BEiT-3, a backbone without canvases" in result.output
    assert not [*tmp_path.glob("out*")]
