"""A PACS on loopback for trying the node: Orthanc where it is installed, else a small one of our own.

Both do what a hospital's PACS does: store what arrives and route every study that came in on to the node, and, as
routing rules go, the node's own results back to it as well.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pydicom
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from .delivery import storage_scu
from .errors import NodeError
from .settings import Destination

AE_TITLE = "PACS"
ROUTE_AFTER_S = 2
ORTHANC_PLACES = ("Orthanc", "/usr/sbin/Orthanc")
ROUTE = """
function OnStableStudy(study, tags, metadata)
  RestApiPost('/modalities/node/store', '{"Resources": ["' .. study .. '"], "Synchronous": false}')
end
"""


class Pacs(Protocol):
    """What the demo asks of a PACS."""

    name: str
    port: int  # DICOM

    def objects(self, study_instance_uid: str, modalities: frozenset[str]) -> list[bytes]:
        """The stored objects of these modalities in a study, as DICOM files."""
        ...

    def look(self, study_instance_uid: str) -> str:
        """Where a person can look at the study while the PACS is up."""
        ...


@contextmanager
def running(kind: str, folder: Path, node: Destination) -> Iterator[Pacs]:
    """A PACS that keeps its files below `folder` and routes to `node`; ends with the block.

    `kind`: auto, orthanc or builtin. Raises NodeError where Orthanc is asked for and not installed.
    """
    program = next((found for place in ORTHANC_PLACES if (found := shutil.which(place))), None)
    if kind == "orthanc" and program is None:
        raise NodeError(
            "Orthanc is not installed.", remedy="Install it (Debian: apt-get install orthanc), or use builtin."
        )
    if program is not None and kind != "builtin":
        with _orthanc(program, folder, node) as orthanc:
            yield orthanc
    else:
        with _builtin(folder, node) as builtin:
            yield builtin


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ------------------------------------------------------------------ Orthanc
class _Orthanc:
    name = "Orthanc"

    def __init__(self, port: int, http_port: int) -> None:
        self.port, self._url = port, f"http://127.0.0.1:{http_port}"

    def objects(self, study_instance_uid: str, modalities: frozenset[str]) -> list[bytes]:
        return [
            self._get(f"/instances/{instance}/file")
            for study in json.loads(self._get("/tools/lookup", study_instance_uid.encode()))
            for series in json.loads(self._get(f"/studies/{study['ID']}/series"))
            if series["MainDicomTags"].get("Modality") in modalities
            for instance in series["Instances"]
        ]

    def look(self, study_instance_uid: str) -> str:
        return f"{self._url}/app/explorer.html"

    def is_up(self) -> bool:
        try:
            return bool(self._get("/system"))
        except OSError:
            return False

    def _get(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self._url + path, data=body, timeout=10) as answer:  # noqa: S310  loopback http
            return bytes(answer.read())


@contextmanager
def _orthanc(program: str, folder: Path, node: Destination) -> Iterator[_Orthanc]:
    port, http_port = free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    route = folder / "route.lua"
    route.write_text(ROUTE)
    configuration = {
        "Name": "PACS on loopback",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StableAge": ROUTE_AFTER_S,
        "SyncStorageArea": False,  # this archive lives as long as the demo
        "LuaScripts": [str(route)],
        "DicomModalities": {"node": [node.ae_title, node.host, node.port]},
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration, indent=1))
    with (folder / "orthanc.log").open("wb") as log:
        at_once = {**os.environ, "TCP_NODELAY": "1"}  # DCMTK, inside Orthanc, else waits 45 ms with each answer
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log, env=at_once)
    try:
        orthanc, deadline = _Orthanc(port, http_port), time.monotonic() + 30
        while not orthanc.is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NodeError("Orthanc did not start.", remedy=f"See {folder / 'orthanc.log'}.")
            time.sleep(0.2)
        yield orthanc
    finally:
        process.terminate()
        process.wait(20)


# ------------------------------------------------------------------ the small one
class _Builtin:
    """Stores files; routes what an association brought when it is released. Keeps the first of equal UIDs."""

    name = "a small built-in PACS (Orthanc is not installed)"

    def __init__(self, folder: Path, node: Destination) -> None:
        self._folder, self._node = folder, node
        self._arrived: dict[int, list[Path]] = {}
        self._routes: list[threading.Thread] = []
        self.port = 0

    def objects(self, study_instance_uid: str, modalities: frozenset[str]) -> list[bytes]:
        found = []
        for path in sorted((self._folder / study_instance_uid).glob("*.dcm")):
            if pydicom.dcmread(path, specific_tags=["Modality"], stop_before_pixels=True).get("Modality") in modalities:
                found.append(path.read_bytes())
        return found

    def look(self, study_instance_uid: str) -> str:
        return str(self._folder / study_instance_uid)

    def store(self, event: Any) -> int:
        """C-STORE: the object as it came, to <study>/<instance>.dcm."""
        dataset = event.dataset
        path = self._folder / str(dataset.StudyInstanceUID) / f"{event.request.AffectedSOPInstanceUID}.dcm"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".partial")
            temporary.write_bytes(event.encoded_dataset())
            temporary.replace(path)
            self._arrived.setdefault(id(event.assoc), []).append(path)
        return 0x0000

    def route(self, event: Any) -> None:
        """On release of an association: send what it brought on to the node."""
        paths = self._arrived.pop(id(event.assoc), [])
        if paths:
            thread = threading.Thread(target=storage_scu.send, args=(self._node, paths, AE_TITLE), daemon=True)
            self._routes.append(thread)
            thread.start()


@contextmanager
def _builtin(folder: Path, node: Destination) -> Iterator[_Builtin]:
    pacs = _Builtin(folder / "storage", node)
    application = AE(AE_TITLE)
    application.supported_contexts = AllStoragePresentationContexts
    application.add_supported_context("1.2.840.10008.1.1")
    server = application.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, pacs.store), (evt.EVT_RELEASED, pacs.route)]
    )
    assert server is not None  # start_server gives one when it does not block
    assert server.socket is not None
    pacs.port = server.socket.getsockname()[1]
    try:
        yield pacs
    finally:
        server.shutdown()
