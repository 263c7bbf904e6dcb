"""What a training sets for its process is taken back: whoever computes next expects IEEE 754."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mome.arithmetic import repeatable


def denormals_are_kept() -> bool:
    return float(np.float32(1e-30) * np.float32(1e-12)) != 0


def test_denormal_numbers_are_zero_only_while_it_computes() -> None:
    assert denormals_are_kept()
    with repeatable(1):
        assert not denormals_are_kept()
    assert denormals_are_kept()


def test_an_error_inside_changes_nothing_outside() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="of the training"), repeatable(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError("of the training")
    assert torch.get_num_threads() == before
    assert denormals_are_kept()
