"""The network has the published layout, and a missing sequence is one whose tokens are not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mome.attention import GROUP
from mome.coalitions import coalition_logits
from mome.config import DEMONSTRATION, SEQUENCES, NetworkConfig
from mome.network import Mome

from .volumes import subsets


@pytest.fixture(scope="module")
def network() -> Mome:
    torch.manual_seed(0)
    made = Mome(DEMONSTRATION).eval().requires_grad_(False)
    for table in made.beit3.encoder.embed_positions.values():
        torch.nn.init.normal_(table.weight)
    return made


@pytest.fixture(scope="module")
def volumes() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {s: torch.randn((2, DEMONSTRATION.channels(s), *DEMONSTRATION.canvas(s)), generator=rng) for s in SEQUENCES}


def test_the_paper_size_network_has_the_published_tensors() -> None:
    """Checkpoints of the published code hold 926 tensors under fixed names; with these names they load strictly."""
    with torch.device("meta"):
        tensors = {name: tuple(t.shape) for name, t in Mome(NetworkConfig()).state_dict().items()}
    assert len(tensors) == 926
    assert sum(int(np.prod(shape)) for shape in tensors.values()) == 290_751_362
    published = {
        "beit3.dce_embed.cls_token": (1, 1, 768),
        "beit3.dce_embed.stem.0.weight": (64, 6, 3, 3, 3),
        "beit3.t2_embed.stem.6.weight": (768, 128, 3, 3, 3),
        "beit3.encoder.embed_positions.A.weight": (3074, 768),
        "beit3.encoder.embed_positions.B.weight": (256, 768),
        "beit3.encoder.embed_positions.C.weight": (1152, 768),
        "beit3.encoder.layers.0.self_attn.q_proj.A.weight": (768, 768),
        "beit3.encoder.layers.11.self_attn.inner_attn_ln.C.bias": (768,),
        "beit3.encoder.layers.3.self_attn_layer_norm.B.weight": (768,),
        "beit3.encoder.layers.3.final_layer_norm.B.weight": (768,),
        "beit3.encoder.layers.5.ffn.C.ffn_layernorm.weight": (3072,),
        "beit3.encoder.layers.5.ffn.C.fc2.weight": (768, 3072),
        "beit3.encoder.layers.8.MLP_Adapter.B.D_fc1.weight": (192, 768),
        "beit3.encoder.layers.9.MLP_Adapter.moe.phi": (192, 128, 1),
        "beit3.encoder.layers.9.MLP_Adapter.moe.experts.weight": (128, 192, 192),
        "beit3.encoder.layers.9.MLP_Adapter.norm.bias": (768,),
        "fc_norm.weight": (768,),
        "head.weight": (2, 768),
    }
    assert {name: tensors[name] for name in published} == published


@pytest.mark.parametrize("present", subsets(SEQUENCES), ids="+".join)
def test_every_combination_of_sequences_gives_logits(
    network: Mome, volumes: dict[str, torch.Tensor], present: tuple[str, ...]
) -> None:
    """A hospital without DWI, or a failed T2, still gets a score."""
    logits = network(**{s: volumes[s] for s in present})
    assert logits.shape == (2, 2)
    assert torch.isfinite(logits).all()


def test_a_missing_sequence_is_dropped_not_filled_with_zeros(network: Mome, volumes: dict[str, torch.Tensor]) -> None:
    """Zeros are an image too: a network fed with them computes something else than without the tokens."""
    dropped = network(dce=volumes["dce"], t2=volumes["t2"])
    filled = network(dce=volumes["dce"], t2=volumes["t2"], dwi=torch.zeros_like(volumes["dwi"]))
    assert (dropped - filled).abs().max() > 1e-4


def test_without_any_sequence_there_is_no_answer(network: Mome) -> None:
    with pytest.raises(ValueError, match="at least one sequence"):
        network()


def test_sparse_blocks_see_their_own_sequence_only(network: Mome, volumes: dict[str, torch.Tensor]) -> None:
    """So the seven combinations can share what each sequence costs; a score from shared parts is the same score."""
    prefixes = {s: network.prefix(s, v) for s, v in volumes.items()}
    together = network.fuse({"t2": prefixes["t2"], "dce": prefixes["dce"]})
    assert torch.allclose(together, network(dce=volumes["dce"], t2=volumes["t2"]), atol=1e-6)


def test_combinations_that_share_their_parts_are_the_combinations(
    network: Mome, volumes: dict[str, torch.Tensor]
) -> None:
    """The Shapley values rest on seven scores; each is that of a network that was shown these sequences only."""
    found = coalition_logits(network, {s: network.prefix(s, v) for s, v in volumes.items()})
    assert set(found) == set(subsets(SEQUENCES))
    for part, logits in found.items():
        assert torch.allclose(logits, network(**{s: volumes[s] for s in part}), atol=1e-5), part


def test_every_token_of_a_soft_block_sees_every_sequence(network: Mome, volumes: dict[str, torch.Tensor]) -> None:
    prefixes = {s: network.prefix(s, v) for s, v in volumes.items()}
    before = network.mix(prefixes)
    changed = network.mix({**prefixes, "dwi": prefixes["dwi"].flip(1) * 2})
    for sequence in SEQUENCES:
        assert (before[GROUP[sequence]] - changed[GROUP[sequence]]).abs().max() > 1e-4


def test_cls_alone_is_the_same_for_every_exam(network: Mome, volumes: dict[str, torch.Tensor]) -> None:
    """Without DCE the CLS token passes the sparse blocks by itself and knows nothing of the exam yet."""
    alone = network.lone_cls(2)
    assert alone.shape == (2, 1, DEMONSTRATION.dim)
    assert torch.equal(alone[0], alone[1])


def test_another_canvas_is_refused(network: Mome) -> None:
    """Position tables belong to one size; a volume of another size would be scored wrongly without a word."""
    with pytest.raises(ValueError, match="takes"):
        network(dce=torch.zeros(1, 6, 96, 48, 16))


def test_exams_of_one_batch_do_not_influence_each_other(network: Mome, volumes: dict[str, torch.Tensor]) -> None:
    alone = network(**{s: v[1:] for s, v in volumes.items()})
    assert torch.allclose(network(**volumes)[1:], alone, atol=1e-5)


def test_the_first_row_of_the_position_table_is_never_read(network: Mome, volumes: dict[str, torch.Tensor]) -> None:
    """The published table of DCE has one row too many in front; reading it would shift every position by one."""
    table = network.beit3.encoder.embed_positions["A"]
    before, kept = network(dce=volumes["dce"]), table.weight[0].clone()
    table.weight[0] = float("nan")
    after = network(dce=volumes["dce"])
    table.weight[0] = kept
    assert torch.equal(before, after)
