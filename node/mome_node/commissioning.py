"""`mome-node check`: every part tried once, as a PACS administrator would, with what to mend."""

from __future__ import annotations

import fcntl
import logging
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import pipeline
from .analysis.inference import ComputeChild
from .analyze import analyze_folder
from .delivery import storage_scu
from .errors import NodeError, SettingsError
from .phantom import write_study
from .settings import Destination, Settings

log = logging.getLogger(__name__)

TEST_SEED = 7


@dataclass(frozen=True, slots=True)
class Finding:
    """One part that was tried."""

    what: str
    ok: bool
    words: str


def check(settings: Settings, test_study: str | None = None) -> Iterator[Finding]:
    """Try the parts in the order in which a study meets them; a study is sent only to `test_study`, a destination."""
    yield _peers(settings)
    yield _state_folder(settings)
    yield _port(settings)
    yield _site_files(settings)
    yield _model(settings)
    for destination in settings.destinations:
        yield _destination(settings, destination)
    if not settings.destinations:
        yield Finding("destinations", False, "None: results go nowhere. Add a [[destinations]] table.")
    if test_study is not None:
        yield _test_study(settings, settings.destination(test_study))


def _peers(settings: Settings) -> Finding:
    if not settings.peers:
        return Finding("peers", False, "None: every association is refused. Add a [[peers]] table.")
    anywhere = [peer.ae_title for peer in settings.peers if not peer.addresses]
    words = ", ".join(f"{peer.ae_title} from {', '.join(peer.addresses) or 'anywhere'}" for peer in settings.peers)
    warning = f". {', '.join(anywhere)} may call from any address: name its addresses" if anywhere else ""
    return Finding("peers", True, words + warning)


def _state_folder(settings: Settings) -> Finding:
    folder, reserve = settings.state_folder, settings.receiver.reserve_mb
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free // 2**20
    except OSError as error:
        return Finding("state folder", False, f"{folder}: {error.strerror}. Give this user the right to write there.")
    words = f"{folder}, {free} MB free, {reserve} MB kept in reserve"
    if folder.stat().st_mode & 0o077:
        return Finding(
            "state folder", False, f"{words}: others may read it, and it holds patients' data. chmod 700 it."
        )
    return Finding("state folder", free > reserve, words if free > reserve else f"{words}: nothing would be accepted")


def _site_files(settings: Settings) -> Finding:
    try:
        return Finding("words and templates", True, pipeline.check_site_files(settings))
    except SettingsError as error:
        return Finding("words and templates", False, str(error))


def _port(settings: Settings) -> Finding:
    receiver = settings.receiver
    what = f"receiver {receiver.ae_title} at {receiver.host}:{receiver.port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((receiver.host, receiver.port))
        except OSError:
            pass
        else:
            return Finding(what, True, "the port is free; `mome-node serve` will listen there")
    try:
        with (settings.state_folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding(what, True, "the node of this state folder is up and listens there")
    except OSError:
        log.debug("no node has used this state folder yet")
    return Finding(what, False, "another program has this port. Stop it, or set receiver.port.")


def _model(settings: Settings) -> Finding:
    try:
        with ComputeChild(settings.model) as compute:
            card, device = compute.model.card, compute.model.device
    except NodeError as error:
        return Finding("model", False, str(error))
    if problem := pipeline.clinical_problem(settings, card):
        return Finding("model", False, f'{problem} Set mode = "research".')
    weights = f"{card.name} {card.version}, weights {card.weights_sha256[:12]}, on {device}"
    return Finding("model", True, f"{weights}; {card.status}")


def _destination(settings: Settings, destination: Destination) -> Finding:
    what = f"destination {destination.name} ({destination.ae_title} at {destination.host}:{destination.port})"
    try:
        storage_scu.echo(destination, settings.receiver.ae_title)
    except NodeError as error:
        return Finding(what, False, str(error))
    return Finding(what, True, "answers a C-ECHO")


def _test_study(settings: Settings, destination: Destination) -> Finding:
    """A synthetic study through the whole pipeline; its images and results to the destination."""
    what = f"test study to {destination.name}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        study = write_study(folder / "study", TEST_SEED)
        try:
            (outcome,) = analyze_folder(folder / "study", folder / "results", settings, say=lambda _: None)
            results = sorted(outcome.folder.glob("*.dcm")) if outcome.folder else []
            sent = storage_scu.send(destination, [*study.files, *results], settings.receiver.ae_title)
        except NodeError as error:
            return Finding(what, False, str(error))
    refused = [one.words for one in sent if not one.sent]
    if refused:
        return Finding(what, False, f"{len(refused)} of {len(sent)} objects refused: {refused[0]}")
    return Finding(what, True, f"patient {study.patient_id}: {len(study.files)} images and {len(results)} results sent")
