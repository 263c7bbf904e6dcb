"""The network is the published one: it repeats the answers of its code, number by number, on any machine.

tests/data/mome_record.json says how weights and inputs are made, and what the published implementation answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mome import plain
from mome.coalitions import coalition_logits
from mome.config import SEQUENCES
from mome.network import Mome

from . import published

TOLERANCE = 2e-5  # of a logit, single precision: rounding is about 1e-6, a wrong eps or GELU 2e-4 and more


def records(size: str, **wanted: Any) -> list[dict[str, Any]]:
    found = [r for r in published.RECORD[size]["records"] if all(r[k] == v for k, v in wanted.items())]
    assert found
    return found


@pytest.fixture(scope="module", autouse=True)
def made_up_weights() -> Iterator[None]:
    """More than a gigabyte, kept for this file only."""
    yield
    published.parameter.cache_clear()


@pytest.fixture(scope="module", params=["untied", "tied"])
def copies(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def small(copies: str) -> Mome:
    return published.network("small", copies=copies)


def state_of_blocks(network: Mome, volumes: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Tokens of all groups present after every block."""
    caught: dict[int, dict[str, torch.Tensor]] = {}

    def catch(i: int) -> Any:
        return lambda _layer, _arguments, tokens: caught.setdefault(i, {}).update(tokens)

    hooks = [layer.register_forward_hook(catch(i)) for i, layer in enumerate(network.beit3.encoder.layers)]
    network.mix({s: network.prefix(s, v) for s, v in volumes.items()})
    for hook in hooks:
        hook.remove()
    return [torch.cat([caught[i][g] for g in "ABC" if g in caught[i]], dim=1) for i in sorted(caught)]


@pytest.mark.slow
def test_every_combination_and_every_block_of_the_small_canvas(small: Mome, copies: str) -> None:
    """Eps, sub-LayerNorms, positions, experts, the order of groups, dropped sequences: each moves these numbers."""
    for record in records("small", copies=copies, absent="dropped"):
        volumes = {s: v for s, v in published.inputs(small.config, record["scale"]).items() if s in record["sequences"]}
        assert (small(**volumes)[0] - torch.tensor(record["logits"])).abs().max() < TOLERANCE, record["sequences"]
        if record["scale"] != 1.0:
            continue  # the other scale tests the stems, which the logits show
        for state, (_mean, deviation, norm) in zip(state_of_blocks(small, volumes), record["blocks"], strict=True):
            assert float(state.double().std(correction=0)) == pytest.approx(deviation, rel=1e-5)
            assert float(state.double().norm()) == pytest.approx(norm, rel=1e-5)


@pytest.mark.slow
def test_zeros_in_place_of_a_sequence_are_another_function() -> None:
    """The published code can only fill with zeros; given zeros, this network answers as that code does."""
    network = published.network("small", copies="untied")
    for record in records("small", absent="zeros"):
        given = published.inputs(network.config, record["scale"])
        volumes = {s: v if s in record["sequences"] else torch.zeros_like(v) for s, v in given.items()}
        assert (network(**volumes)[0] - torch.tensor(record["logits"])).abs().max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("scale", ["0.02", "1.0"])
def test_gradients_are_those_of_the_published_code(scale: str, checkpointing: bool) -> None:
    """Integrated gradients rest on them; saving memory must not change them."""
    network = published.network("small", copies="untied")
    network.checkpointing = checkpointing
    volumes = {s: v.requires_grad_() for s, v in published.inputs(network.config, float(scale)).items()}
    network(**volumes)[0, 1].backward()
    for sequence, record in published.RECORD["small"]["gradients"][scale].items():
        gradient = volumes[sequence].grad
        assert gradient is not None
        assert float(gradient.double().norm()) == pytest.approx(record["l2"], rel=1e-3)
        assert gradient.flatten()[:4].tolist() == pytest.approx(record["first4"], rel=1e-3, abs=1e-3 * record["std"])


@pytest.mark.slow
def test_the_plain_form_agrees(small: Mome) -> None:
    """`plain` shares no code with the network: masked attention, three copies of the backbone, nothing shared."""
    volumes = published.inputs(small.config, 1.0)
    tensors = plain.copies(small.state_dict())
    for present in (SEQUENCES, ("dce", "t2"), ("dwi",)):
        part = {s: volumes[s] for s in present}
        assert (small(**part) - plain.logits(tensors, small.config, part)).abs().max() < TOLERANCE


@pytest.mark.slow
def test_the_size_of_the_paper() -> None:
    """290 million parameters, 4481 tokens: all seven combinations, sharing what one sequence costs, and a gradient."""
    network = published.network("paper", copies="untied")
    volumes = published.inputs(network.config, 0.02)
    with torch.no_grad():
        prefixes = {s: network.prefix(s, v) for s, v in volumes.items()}
        found = coalition_logits(network, prefixes)
    assert len(found) == 7
    for record in records("paper"):
        logits = found[tuple(s for s in SEQUENCES if s in record["sequences"])]
        assert (logits[0] - torch.tensor(record["logits"])).abs().max() < TOLERANCE
    network.checkpointing = True
    dce = volumes["dce"].requires_grad_()
    network.fuse({**prefixes, "dce": network.prefix("dce", dce)})[0, 1].backward()
    assert dce.grad is not None
    assert float(dce.grad.double().norm()) == pytest.approx(
        published.RECORD["paper"]["gradients"]["0.02"]["dce"]["l2"], rel=1e-3
    )
