"""Checkpoints of others come in exactly, with every tensor accounted for, or not at all, and nothing in them is run.

tests/data/published_tensors.json lists what published checkpoints hold. Values are made up: one number for each name.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from mome import backbone
from mome.card import IMPORTED_LIMITS
from mome.checkpoints import read_checkpoint
from mome.commands.main import main
from mome.config import DEMONSTRATION, PAPER_PREPROCESSING, NetworkConfig, PreprocessingConfig, Sequence, Size
from mome.network import Mome, is_backbone
from mome.weights import (
    WeightsError,
    assembled,
    import_reference,
    load,
    load_family,
    read_card,
    read_header,
    save,
    sha256,
    shapes_of,
)

LISTED = json.loads((Path(__file__).parents[1] / "data" / "published_tensors.json").read_text())
Tensors = dict[str, torch.Tensor]


def listed(model: str, groups: str = "-") -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published checkpoint."""
    said, found = LISTED[model], {}
    found.update(said["outside"])
    for i in range(12):
        block = said["block"].format(i=i)
        for part in ("every_block", "sparse_block" if i < 9 else "soft_block"):
            for name, shape in said.get(part, {}).items():
                found |= {f"{block}.{name.format(group=g)}": shape for g in (groups if "{group}" in name else "-")}
    return {name: tuple(shape) for name, shape in found.items()}


def filled(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """One number for each name, in every place of its tensor; takes no memory."""
    return {name: torch.tensor(zlib.crc32(name.encode()) % 9973 / 1e5).expand(shape) for name, shape in shapes.items()}


def in_group(name: str, group: str) -> str:
    return re.sub(r"\.[ABC]\.", f".{group}.", name, count=1)


@pytest.fixture
def mome() -> Tensors:
    """A checkpoint at the paper's size, its three backbones equal, as training leaves them."""
    tensors = filled(listed("mome", "ABC"))
    return {name: tensors[in_group(name, "A")] if is_backbone(name) else tensor for name, tensor in tensors.items()}


@pytest.fixture
def beit3() -> Tensors:
    return filled(listed("beit3", "AB"))


def timm(beit3: Tensors) -> Tensors:
    """The same numbers, as timm names them: q, k and v one below the other."""
    tensors = filled(listed("timm"))
    theirs = {
        **{"norm1": "self_attn_layer_norm.A", "attn.norm": "self_attn.inner_attn_ln.A", "norm2": "final_layer_norm.A"},
        **{"attn.proj": "self_attn.out_proj.A", "mlp.norm": "ffn.A.ffn_layernorm"},
        **{f"mlp.fc{n}": f"ffn.A.fc{n}" for n in (1, 2)},
    }
    for i in range(12):
        for kind in ("weight", "bias"):
            layer = f"beit3.encoder.layers.{i}"
            rows = [beit3[f"{layer}.self_attn.{part}_proj.A.{kind}"] for part in "qkv"]
            tensors[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(rows)
            for ours, name in theirs.items():
                tensors[f"blocks.{i}.{ours}.{kind}"] = beit3[f"{layer}.{name}.{kind}"]
    return tensors


# ------------------------------------------------------------------ MOME
def test_every_published_tensor_has_its_place_and_no_other_is_there() -> None:
    """The list was made from the published code, not from this network."""
    published_names = listed("mome", "ABC")
    assert len(published_names) == 926
    assert shapes_of(NetworkConfig(shared_backbone=False)) == published_names


def test_equal_backbones_are_held_once_and_the_logits_stay() -> None:
    """A third of the memory, and one run of all tokens in place of three: the same function."""
    sizes: dict[Sequence, Size] = {"dce": (96, 64, 32), "dwi": (64, 32, 32), "t2": (96, 64, 48)}
    random = torch.Generator().manual_seed(0)
    small = NetworkConfig(
        dce_canvas=sizes["dce"], dwi_canvas=sizes["dwi"], t2_canvas=sizes["t2"], shared_backbone=False
    )
    tensors: Tensors = {}
    for name, shape in shapes_of(small).items():
        first = in_group(name, "A") if is_backbone(name) else name
        if first == name:
            tensors[name] = torch.randn(shape, generator=random) * 0.02 + name.endswith("norm.weight")
        else:
            tensors[name] = tensors[first].clone() if ".11." in name else tensors[first]
    network = import_reference({"epoch": 99, "state_dict": tensors, "optimizer": {"state": {}}}, sizes=sizes)
    assert network.config == dataclasses.replace(small, shared_backbone=True)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    volumes = {s: torch.randn((1, small.channels(s), *size), generator=random) for s, size in sizes.items()}
    assert (network(**volumes) - assembled(small, tensors)(**volumes)).abs().max() < 2e-5


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"epoch": 3, "state_dict": tensors, "optimizer": {}},
        lambda tensors: {"model": tensors},
        lambda tensors: {"module": tensors},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {"model": {f"_orig_mod.module.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {n: t if is_backbone(n) else t.to(torch.bfloat16) for n, t in tensors.items()},
        lambda tensors: {n: t if is_backbone(n) else t.double() for n, t in tensors.items()},
    ],
    ids=["state_dict", "model", "module", "prefix", "compiled", "bfloat16", "float64"],
)
def test_a_checkpoint_is_found_inside_what_was_saved_around_it(mome: Tensors, wrap: Callable[[Tensors], Any]) -> None:
    """Training saves an epoch and an optimiser beside it, several GPUs a prefix, a small disk another width."""
    network = import_reference(wrap(mome))
    assert network.config == NetworkConfig(shared_backbone=True)
    for name in ("head.weight", "beit3.encoder.layers.11.MLP_Adapter.moe.phi", "beit3.encoder.layers.7.ffn.C.fc2.bias"):
        tensor = network.state_dict()[name]
        assert tensor.dtype == torch.float32
        assert torch.allclose(tensor, mome[name], rtol=4e-3, atol=0)


def test_one_copy_of_the_backbone_is_enough(mome: Tensors) -> None:
    """Two thirds of a published checkpoint repeat the rest; some leave that out."""
    once = {name: t for name, t in mome.items() if not is_backbone(name) or in_group(name, "A") == name}
    assert len(once) == 926 - 480
    network = import_reference(once)
    assert network.config.shared_backbone
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == listed("mome", "ABC")


def test_copies_that_differ_are_kept_apart(mome: Tensors) -> None:
    """Somebody trained the backbone too: one number is enough to make it another function."""
    name = "beit3.encoder.layers.11.self_attn.v_proj.C.bias"
    mome[name] = mome[name].clone()
    mome[name][17] += 1e-7
    network = import_reference(mome)
    assert not network.config.shared_backbone
    assert torch.equal(network.state_dict()[name], mome[name])
    assert not torch.equal(network.state_dict()[in_group(name, "A")], mome[name])


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


def with_(name: str, tensor: torch.Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: tensor}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("fc_norm.bias", "head.bias"), r"2 missing \(fc_norm.bias, head.bias\)"),
        (without("beit3.dce_embed.cls_token"), r"1 missing \(beit3.dce_embed.cls_token\)"),
        (without("beit3.encoder.layers.3.ffn.B.fc1.bias"), r"1 missing \(beit3.encoder.layers.3.ffn.B.fc1.bias\)"),
        (with_("tail.weight", torch.zeros(1)), r"1 unexpected \(tail.weight\)"),
        (with_("fc_norm.bias", torch.zeros(767)), r"1 of another shape \(fc_norm.bias: \(767,\), wanted \(768,\)\)"),
        (with_("fc_norm.bias", torch.tensor([0.0] * 767 + [float("nan")])), r"not numbers \(fc_norm.bias\)"),
        (with_("fc_norm.bias", torch.tensor([float("-inf")] + [0.0] * 767)), r"not numbers \(fc_norm.bias\)"),
        (with_("fc_norm.bias", torch.full((768,), 1e300, dtype=torch.float64)), r"not numbers \(fc_norm.bias\)"),
        (with_("fc_norm.bias", torch.zeros(768).int()), r"floating-point numbers \(fc_norm.bias\)"),
        (with_("best", 0.9), "no state dictionary: best"),
        (lambda _: {"model": {0: torch.zeros(1)}}, "no state dictionary: 0"),
        (with_("head.weight", torch.zeros(4, 768)), "four classes"),
        (with_("beit3.dce_embed.stem.1.weight", torch.zeros(64)), "BatchNorm"),
        (with_("fc_norm.weight", torch.zeros(1024)), "of width 1024"),
        (
            with_("beit3.encoder.embed_positions.C.weight", torch.zeros(768, 768)),
            "another size: T2 of 384 x 256 x 48 has 1152 positions, the table in the checkpoint 768",
        ),
        (lambda _: filled(listed("beit3", "AB")), "the foundation model BEiT-3"),
        (lambda _: filled(listed("timm")), "the foundation model BEiT-3"),
        (with_("head.weight", torch.zeros(4, 768)), r"\(head.weight: \(4, 768\), wanted \(2, 768\)\)"),
        (with_("beit3.dce_embed.stem.1.weight", torch.zeros(64)), r"1 unexpected \(beit3.dce_embed.stem.1.weight\)"),
        (with_("fc_norm.weight", torch.zeros(1024)), r"\(fc_norm.weight: \(1024,\), wanted \(768,\)\)"),
        (
            with_("beit3.encoder.embed_positions.A.weight", torch.zeros(770, 768)),
            r"--dce WxHxD.*\(beit3.encoder.embed_positions.A.weight: \(770, 768\), wanted \(3074, 768\)\)",
        ),
        (with_("fc_norm.bias", torch.zeros(768, device="meta")), r"shapes without values.*\(fc_norm.bias\)"),
        (lambda _: None, "no state dictionary: it is of the type NoneType"),
        (lambda tensors: [*tensors.items()], "no state dictionary: it is of the type list"),
        (lambda _: {"conv1.weight": torch.zeros(1)}, "not of MOME: its 1 tensors are conv1.weight"),
        (lambda _: {"epoch": 3, "state_dict": {}}, "it is empty"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mome: Tensors, change: Callable[[Tensors], Any], said: str) -> None:
    """The published loader prints such things and goes on with random weights in their place."""
    with pytest.raises(WeightsError, match=said):
        import_reference(change(mome))


def test_of_many_tensors_the_first_are_said_and_all_are_there(mome: Tensors) -> None:
    """A message of 600 names is not read; a program that asks gets them."""
    mome = {name: tensor for name, tensor in mome.items() if not name.startswith("beit3.encoder.layers.3.")}
    mome |= {"fc_norm.weight": torch.zeros(1024), "tail.weight": torch.zeros(1)}
    with pytest.raises(WeightsError) as refused:
        import_reference(mome)
    gone = sorted(name for name in listed("mome", "ABC") if name.startswith("beit3.encoder.layers.3."))
    assert refused.value.missing == tuple(gone)
    assert refused.value.unexpected == ("tail.weight",)
    assert refused.value.misshapen == ("fc_norm.weight",)
    said = str(refused.value)
    assert gone[9] in said
    assert gone[10] not in said
    assert f"and {len(gone) - 10} more" in said
    assert pickle.loads(pickle.dumps(refused.value)).missing == tuple(gone)


@pytest.mark.parametrize(
    "sizes", [{"dce": (96, 64, 40)}, {"dce": (96, 64)}, {"t1": (96, 64, 32)}, {"t2": "384x256x48"}, (96, 64, 32)]
)
def test_sizes_that_the_tokenizers_do_not_divide_are_refused(mome: Tensors, sizes: Any) -> None:
    with pytest.raises(WeightsError, match="multiples of 16"):
        import_reference(mome, sizes=sizes)


def test_a_network_does_not_change_with_the_checkpoint_it_came_from(mome: Tensors) -> None:
    """A training that goes on with the same tensors would change the scores of the network that was taken from it."""
    mome["head.bias"] = torch.zeros(2)
    network, view = import_reference(mome), import_reference(mome, copy=False)
    mome["head.bias"] += 1
    assert torch.equal(network.head.bias, torch.zeros(2))
    assert torch.equal(view.head.bias, torch.ones(2)), "without a copy, on purpose"
    theirs = {tensor.data_ptr() for tensor in mome.values()}
    assert not theirs & {tensor.data_ptr() for tensor in network.state_dict().values()}


# ------------------------------------------------------------------ BEiT-3
def test_the_vision_branch_becomes_the_backbone(beit3: Tensors) -> None:
    """Of 491 tensors MOME takes 240; text branch, embeddings and heads stay out on purpose."""
    taken = backbone.import_backbone({"model": {**beit3, "mlm_head.weight": torch.zeros(1)}})
    assert len(beit3) == 491
    assert {name: tuple(t.shape) for name, t in taken.items()} == {
        name: shape
        for name, shape in listed("mome", "ABC").items()
        if is_backbone(name) and in_group(name, "A") == name
    }
    assert len(taken) == 240
    assert all(torch.equal(tensor, beit3[name]) for name, tensor in taken.items())


def test_both_layouts_of_beit3_give_the_same_backbone(beit3: Tensors) -> None:
    """timm keeps query, key and value as rows of one matrix, in this order."""
    taken, again = backbone.import_backbone(beit3), backbone.import_backbone(timm(beit3))
    assert taken.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in taken.items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("beit3.encoder.layers.4.ffn.A.ffn_layernorm.bias"), r"1 missing \(\S+4.ffn.A.ffn_layernorm.bias\)"),
        (
            with_("beit3.encoder.layers.0.ffn.A.fc2.bias", torch.zeros(1024)),
            r"1 of another shape \(\S+0.ffn.A.fc2.bias",
        ),
        (lambda _: {"blocks.0.attn.qkv.weight": torch.zeros(2304, 768)}, "not BEiT-3 base"),
    ],
)
def test_a_backbone_that_lacks_something_is_refused_by_name(
    beit3: Tensors, change: Callable[[Tensors], Any], said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        backbone.import_backbone(change(beit3))


# ------------------------------------------------------------------ files
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


# ------------------------------------------------------------------ the command
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
