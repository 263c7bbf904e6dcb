"""Fixtures that several parts of the tests share; the functions behind them are in tests/node/peers.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .node import peers


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.ReceiverProcess]:
    """Our Storage SCP in a process of its own, one for each module: tests use UIDs and titles of their own."""
    with peers.receiver_process(peers.node_settings(tmp_path_factory.mktemp("receiver") / "state")) as running:
        yield running


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Orthanc]:
    """One Orthanc for all tests that only store and look up; tests use UIDs of their own."""
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running
