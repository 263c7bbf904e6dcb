"""Test-time augmentation: the paper's 54 variants, each computed once, and what their scores say together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mome.augmentation import FLIPS, SETS, Variant, batch_of, distinct, placed, scores
from mome.coalitions import probabilities
from mome.config import DEMONSTRATION, NetworkConfig, Sequence, Size
from mome.geometry import Box
from mome.network import Mome
from mome.preprocessing import Prepared

SMALL = NetworkConfig(
    dim=16,
    heads=2,
    ffn=16,
    sparse_blocks=1,
    soft_blocks=1,
    adapter=4,
    experts=2,
    stem=(4, 4),
    dce_canvas=(32, 32, 16),
    dwi_canvas=(16, 16, 16),
    t2_canvas=(32, 16, 16),
)


def prepared(boxes: dict[Sequence, Box], seed: int = 0) -> Prepared:
    """Random content in the boxes of the small network's canvases, zeros around it."""
    rng, arrays = np.random.default_rng(seed), {}
    for sequence, box in boxes.items():
        array = np.zeros((SMALL.channels(sequence), *SMALL.canvas(sequence)), np.float32)
        array[(slice(None), *box.slices)] = rng.normal(size=(len(array), *box.size))
        arrays[sequence] = array
    return Prepared(arrays, {s: np.eye(4) for s in boxes}, boxes, np.ones(SMALL.dce_canvas, bool), {})


LOOSE: dict[Sequence, Box] = {
    "dce": Box((3, 4, 2), (22, 29, 13)),
    "dwi": Box((1, 2, 3), (11, 12, 12)),
    "t2": Box((6, 3, 2), (23, 12, 11)),
}
"""Nothing fills its canvas along any axis."""


@pytest.fixture(scope="module")
def network() -> Mome:
    torch.manual_seed(0)
    network = Mome(SMALL).eval()
    for parameter in network.parameters():  # a head that starts near zero would make every score one half
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def written_out(content: np.ndarray, canvas: Size, padding: int, flip: int) -> np.ndarray:
    """A variant by the words of the published code: pad 0 in the centre, 1 to 8 into the corners counted in binary, W
    first; flip 0 to 5: W, H, D, W and H, W and D, H and D, of the padded canvas."""
    corner = [int(digit) for digit in f"{max(padding - 1, 0):03b}"]
    before = [
        (n - m) // 2 if padding == 0 else at * (n - m)
        for n, m, at in zip(canvas, content.shape[1:], corner, strict=True)
    ]
    after = [n - m - b for n, m, b in zip(canvas, content.shape[1:], before, strict=True)]
    padded = np.pad(content, [(0, 0), *zip(before, after, strict=True)])
    turned = {0: "W", 1: "H", 2: "D", 3: "WH", 4: "WD", 5: "HD"}[flip]
    for axis, name in enumerate("WHD"):
        padded = padded.swapaxes(0, axis + 1)[:: -1 if name in turned else 1].swapaxes(0, axis + 1)
    return padded


@pytest.mark.parametrize("sequence", ["dce", "dwi", "t2"])
def test_the_54_variants_are_those_of_the_paper_in_their_order(sequence: Sequence) -> None:
    """Nine paddings times six flips, padded first, as the published code: 54 scores can be compared one by one."""
    exam = prepared(LOOSE)
    array, box = exam.arrays[sequence], exam.boxes[sequence]
    content = array[(slice(None), *box.slices)]
    for variant, (padding, flip) in zip(SETS["paper-54"], itertools.product(range(9), range(6)), strict=True):
        expected = written_out(content, SMALL.canvas(sequence), padding, flip)
        assert np.array_equal(placed(array, box, variant), expected)


def test_no_augmentation_is_the_exam_as_it_lies() -> None:
    """Also where preprocessing did not put it in the very middle."""
    exam = prepared(LOOSE)
    (variant,) = SETS["none"]
    for sequence, array in exam.arrays.items():
        assert np.array_equal(placed(array, exam.boxes[sequence], variant), array)


def test_the_smaller_sets_are_parts_of_the_paper_s() -> None:
    """Their scores estimate the same mean; "mirrored-4" is the one that keeps the patient prone."""
    assert {name: len(variants) for name, variants in SETS.items()} == {
        "none": 1,
        "mirrored-4": 4,
        "paper-6": 6,
        "paper-18": 18,
        "paper-54": 54,
    }
    assert set(SETS["paper-6"]) < set(SETS["paper-18"]) < set(SETS["paper-54"])
    assert all(1 not in variant.flip and variant.padding is None for variant in SETS["mirrored-4"])
    assert () not in FLIPS  # as published: none of the 54 is unmirrored


def test_nothing_is_shared_where_content_is_loose() -> None:
    assert {s: len(places) for s, places in distinct(prepared(LOOSE), SETS["paper-54"]).items()} == {
        "dce": 54,
        "dwi": 54,
        "t2": 54,
    }


@pytest.mark.parametrize(
    ("high", "different"),
    [
        ((32, 29, 13), 6 * 5),  # four corners and the centre
        ((32, 31, 15), 6 * 4),  # one voxel to spare: the centre is a corner, too
        ((32, 32, 13), 6 * 3),
        ((32, 32, 15), 6 * 2),
        ((32, 32, 16), 6 * 1),
    ],
)
def test_an_axis_that_is_filled_makes_paddings_one(high: Size, different: int) -> None:
    """Each such axis halves the corners: what is the same array is not computed twice."""
    exam = prepared({"dce": Box((0, 0, 0), high)})
    variants = SETS["paper-54"]
    arrays = {placed(exam.arrays["dce"], exam.boxes["dce"], variant).tobytes() for variant in variants}
    assert len(distinct(exam, variants)["dce"]) == len(arrays) == different


def test_scores_are_those_of_every_variant_by_itself(network: Mome) -> None:
    """Shared prefixes and batches change the cost, never the score; each combination of sequences has its own."""
    exam = prepared({**LOOSE, "dwi": Box((0, 0, 0), (16, 16, 12)), "t2": Box((0, 0, 0), (32, 16, 16))})
    found = scores(network, exam, "paper-18", batch=5)
    assert found.values.shape == (18, 7)
    assert found.prefixes == {"dce": 18, "dwi": 18, "t2": 6}
    for row in (0, 11, 17):
        variant = SETS["paper-18"][row]
        volumes = {s: torch.from_numpy(placed(a, exam.boxes[s], variant))[None] for s, a in exam.arrays.items()}
        for column, coalition in enumerate(found.coalitions):
            with torch.inference_mode():
                alone = probabilities(network(**{s: volumes[s] for s in coalition}))[0]
            assert found.values[row, column] == pytest.approx(alone, abs=1e-6)
    everything = found.coalitions[-1]
    assert found.mean[everything] == pytest.approx(found.values[:, -1].mean())
    assert found.spread[everything] == pytest.approx(found.values[:, -1].std())
    assert found.spread[everything] > 1e-4


def test_each_prefix_is_computed_once(network: Mome, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the paper's size the sparse blocks of the DCE are most of the cost, and those of DWI repeat most often."""
    exam = prepared({**LOOSE, "dwi": Box((0, 0, 0), (16, 16, 16)), "t2": Box((0, 0, 2), (32, 16, 12))})
    computed = dict.fromkeys(exam.arrays, 0)

    def counted(sequence: Sequence, volumes: torch.Tensor) -> torch.Tensor:
        computed[sequence] += len(volumes)
        return Mome.prefix(network, sequence, volumes)

    monkeypatch.setattr(network, "prefix", counted)
    found = scores(network, exam, "paper-18", batch=4)
    assert computed == dict(found.prefixes) == {"dce": 18, "dwi": 6, "t2": 18}


def test_the_mean_of_no_augmentation_is_the_plain_score(network: Mome) -> None:
    exam = prepared(LOOSE)
    found = scores(network, exam, "none")
    with torch.inference_mode():
        plain = probabilities(network(**{s: torch.from_numpy(a)[None] for s, a in exam.arrays.items()}))[0]
    assert found.mean["dce", "dwi", "t2"] == pytest.approx(plain, abs=1e-6)
    assert not any(found.spread.values())


def test_a_missing_sequence_is_missing_in_every_variant(network: Mome) -> None:
    found = scores(network, prepared({s: box for s, box in LOOSE.items() if s != "t2"}), "paper-6", batch=4)
    assert found.coalitions == (("dce",), ("dwi",), ("dce", "dwi"))


def test_an_unknown_augmentation_is_an_error(network: Mome) -> None:
    """Its name is part of how a score was made; a misspelt one must not fall back to another."""
    with pytest.raises(ValueError, match="paper-54"):
        scores(network, prepared(LOOSE), "paper54")


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_no_variant_is_an_error(network: Mome, batch: int) -> None:
    """It would give no score, or the mean of none."""
    with pytest.raises(ValueError, match="At least one variant"):
        scores(network, prepared(LOOSE), "paper-6", batch=batch)


def test_small_canvases_go_several_at_a_time(network: Mome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small ones by themselves cost more than together; one of the paper's size fills the memory."""
    assert [batch_of(config.dce_canvas) for config in (NetworkConfig(), DEMONSTRATION)] == [1, 7]
    together: list[int] = []

    def seen(sequence: Sequence, volumes: torch.Tensor) -> torch.Tensor:
        together.append(len(volumes))
        return Mome.prefix(network, sequence, volumes)

    monkeypatch.setattr(network, "prefix", seen)
    found = scores(network, prepared(LOOSE), "paper-6")
    assert together == [6, 6, 6]
    assert np.allclose(found.values, scores(network, prepared(LOOSE), "paper-6", batch=1).values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("numbers", [torch.float64, torch.float16, torch.int16, torch.uint8], ids=str)
def test_volumes_of_any_numeric_type(network: Mome, numbers: torch.dtype) -> None:
    """The network computes in the type of its weights, or in that of an autocast, whatever it is given."""
    given = {s: torch.from_numpy(a)[None].round().abs().to(numbers) for s, a in prepared(LOOSE).arrays.items()}
    with torch.inference_mode():
        plain = {s: x.float() for s, x in given.items()}
        full = network(**given)
        assert torch.equal(full, network(**plain))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(**given)
            assert torch.equal(half, network(**plain))
        assert not torch.equal(half.float(), full)


def test_a_batch_of_no_exam_is_an_error(network: Mome) -> None:
    for sequence in ("dce", "dwi", "t2"):
        with pytest.raises(ValueError, match="no exam"):
            network(**{sequence: torch.zeros(0, SMALL.channels(sequence), *SMALL.canvas(sequence))})


def test_content_moves_and_nothing_else() -> None:
    """The box is what preprocessing says holds content: a variant of it keeps every voxel."""
    exam = prepared(LOOSE)
    for variant in (Variant(("first", "last", "centre"), (2,)), Variant(None, (0, 1))):
        moved = placed(exam.arrays["dce"], exam.boxes["dce"], variant)
        assert np.array_equal(np.sort(moved, axis=None), np.sort(exam.arrays["dce"], axis=None))
