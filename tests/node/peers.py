"""The real counterparts of the tests: Orthanc, DCMTK and our own receiver as processes on free loopback ports.

Everything here is a plain function or a context manager; every wait has a limit. A part that is missing on this
machine fails the test that needs it, in words.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from mome_node.ledger import Ledger
from mome_node.settings import Assembly, Peer, Receiver, Settings

SCANNER, NODE, PACS = "SCANNER1", "MOME", "PACS"


# ------------------------------------------------------------------ waiting and finding
def wait_until(what: str, happened: Callable[[], Any], *, limit_s: float = 30) -> Any:
    """The first truthy value of `happened()`; fails with `what` when it does not come in time."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if value := happened():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {limit_s} s in vain for: {what}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def tool(name: str) -> str:
    """Path of a command of DCMTK or of Orthanc."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is missing on this machine: install the Debian packages dcmtk and orthanc"
    return found


# ------------------------------------------------------------------ synthetic objects
def mr_image(
    *,
    study: str | None = None,
    series: str | None = None,
    uid: str | None = None,
    seed: int = 0,
    size: int = 16,
    **attributes: Any,
) -> Dataset:
    """A small synthetic MR image with noise as pixels; `attributes` are set last, None deletes."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = uid or generate_uid()
    ds.StudyInstanceUID = study or generate_uid()
    ds.SeriesInstanceUID = series or generate_uid()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.Modality = "MR"
    ds.PatientName = "Synthetic^Patient"
    ds.PatientID = "SYNTHETIC-1"
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = np.random.default_rng(seed).integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", MRImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def mr_files(folder: Path, count: int, **common: Any) -> list[Path]:
    """`count` images of one series of one study."""
    common = {"study": generate_uid(), "series": generate_uid(), **common}
    return [save(mr_image(seed=n, **common), folder / f"image-{n:04d}.dcm") for n in range(count)]


# ------------------------------------------------------------------ our receiver
def node_settings(state: Path, *, port: int = 0, peers: Sequence[Peer] = (), **receiver: Any) -> Settings:
    """Settings of a node that knows SCANNER1 and keeps no reserve on the test machine's disk."""
    wishes = {"ae_title": NODE, "port": port, "reserve_mb": 0, **receiver}
    return Settings(
        state_folder=state,
        receiver=Receiver(**wishes),
        peers=tuple(peers) or (Peer(ae_title=SCANNER), Peer(ae_title=PACS)),
        assembly=Assembly(quiet_s=2),
    )


RECEIVER_PROCESS = """
import logging, signal, sys, threading
from mome_node.receive.storage_scp import serve
from mome_node.settings import Settings
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
serve(Settings.model_validate_json(sys.stdin.readline()), stop, ready=lambda host, port: print(port, flush=True))
heavy = sorted({"torch", "mome", "dbos"} & set(sys.modules))
print("heavy:", ",".join(heavy), flush=True)
"""


@dataclass
class ReceiverProcess:
    """A running receiver in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    log_file: Path
    state: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def spool(self) -> Path:
        return self.state / "spool"

    def ledger(self) -> Ledger:
        """The ledger that the process writes, opened a second time by the test."""
        return Ledger(self.state / "ledger.sqlite")

    def kill(self) -> None:
        """As a power cut would end it, as far as the process is concerned."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> str:
        """Ask it to end; what it printed at its end."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=20)
        return said


@contextlib.contextmanager
def receiver_process(settings: Settings) -> Iterator[ReceiverProcess]:
    log_file = settings.state_folder.with_suffix(".log")
    settings.state_folder.mkdir(parents=True, exist_ok=True)
    with log_file.open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RECEIVER_PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(settings.model_dump_json() + "\n")
        process.stdin.flush()
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        line = process.stdout.readline()
        watchdog.cancel()
        assert line, f"the receiver did not start: {log_file.read_text()}"
        yield ReceiverProcess(process, int(line), log_file, settings.state_folder)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


# ------------------------------------------------------------------ DCMTK
def dcmtk(command: str, *arguments: object, limit_s: float = 30) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's commands to its end."""
    line = [tool(command), *map(str, arguments)]
    environment = {**os.environ, "TCP_NODELAY": "1"}  # else DCMTK's senders wait 45 ms per image
    return subprocess.run(
        line, capture_output=True, text=True, errors="replace", timeout=limit_s, env=environment, check=False
    )


def dcmsend(
    port: int, paths: Sequence[Path], *, calling: str = SCANNER, called: str = NODE
) -> subprocess.CompletedProcess[str]:
    """Send files as they are, compressed ones too; verbose."""
    return dcmtk("dcmsend", "-v", "-aet", calling, "-aec", called, "127.0.0.1", port, *paths)


def echoscu(port: int, *, calling: str = SCANNER, called: str = NODE) -> subprocess.CompletedProcess[str]:
    return dcmtk("echoscu", "-v", "-aet", calling, "-aec", called, "-to", 5, "127.0.0.1", port)


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """DCMTK's receiver, title PACS, writing into `folder`; yields its port."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    line = [tool("storescp"), "-aet", PACS, "-od", str(folder), *options, str(port)]
    with _running(line, folder.with_suffix(".log")):
        wait_until("storescp", lambda: is_listening(port))
        yield port


# ------------------------------------------------------------------ Orthanc
@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc: DICOM title PACS; its REST interface without passwords."""

    dicom_port: int
    http_port: int

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode() if not isinstance(body, bytes) else body
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def orthanc(folder: Path, *, node_port: int = 0, dicom_port: int = 0, **options: Any) -> Iterator[Orthanc]:
    """Orthanc with its storage in `folder`, knowing the node as modality "node"."""
    folder.mkdir(parents=True, exist_ok=True)
    pacs = Orthanc(dicom_port or free_port(), free_port())
    configuration = {
        "Name": "test PACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": PACS,
        "DicomPort": pacs.dicom_port,
        "HttpPort": pacs.http_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"node": [NODE, "127.0.0.1", node_port or 1]},
        "Plugins": [],
        **options,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    # Without TCP_NODELAY its answer to each image waits 40 ms for a delayed acknowledgement.
    with _running([tool("Orthanc"), str(folder / "orthanc.json")], folder / "orthanc.log", TCP_NODELAY="1"):
        wait_until("Orthanc", lambda: is_listening(pacs.http_port) and is_listening(pacs.dicom_port), limit_s=30)
        yield pacs


@contextlib.contextmanager
def _running(line: list[str], log_file: Path, **environment: str) -> Iterator[None]:
    with log_file.open("w") as log:
        process = subprocess.Popen(
            line, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | environment
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
