"""Networks of the published code come in exactly, with every tensor accounted for, or not at all.

Values are made up: one number for each name.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mome import backbone
from mome.config import NetworkConfig, Sequence, Size
from mome.network import is_backbone
from mome.weights import (
    WeightsError,
    assembled,
    import_reference,
    shapes_of,
)

from .published_checkpoints import Tensors, checkpoint, filled, foundation, in_group, listed, timm


@pytest.fixture
def mome() -> Tensors:
    return checkpoint()


@pytest.fixture
def beit3() -> Tensors:
    return foundation()


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
