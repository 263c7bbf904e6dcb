"""The one place that runs a model: in a child process of its own, which alone loads torch.

The child is started once and kept; it is killed when a study takes too long, so that nothing that a network, a driver
or the memory does can hang or end the node. Requests and answers are JSON lines; arrays travel as files in the work
folder. Run as a module this file *is* the child: `python -m mome_node.analysis.inference SETTINGS-JSON`.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ComputeError
from ..findings import SIDES_UNKNOWN, Finding, Model, ModelCard
from ..settings import Model as ModelSettings
from ..volume import Volume

log = logging.getLogger(__name__)

START_TIMEOUT_S = 300.0  # loading torch and weights from a cold disk
ENTRY_POINTS = "mome_node.models"


# ------------------------------------------------------------------ the parent's side
@dataclass(frozen=True, slots=True)
class ModelInUse:
    """The model that the compute child holds, as processes without torch know it."""

    card: ModelCard
    device: str  # cpu | cuda

    @classmethod
    def read(cls, path: Path) -> ModelInUse:
        """From the file that `write` left."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(ModelCard.from_json(document["card"]), document["device"])

    def write(self, path: Path) -> None:
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps({"card": asdict(self.card), "device": self.device}), encoding="utf-8")


class ComputeChild:
    """A model in a child process. One study at a time; the caller serialises."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._model: ModelInUse | None = None
        self._answers = b""  # what the child has written and nobody has read

    def __enter__(self) -> ComputeChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def model(self) -> ModelInUse:
        """What the model says of itself, and where it computes. Starts the child where it is not running."""
        if self._model is None:
            self._start()
        assert self._model is not None
        return self._model

    def predict(self, work: Path) -> None:
        """Run the model on `work`/volumes.npz; leaves `prediction.json` and `evidence.npz` there.

        The answer of a model that refuses the exam (a coded reason) is a prediction, too. Raises ComputeError when
        the child ends, runs out of time or fails; the next call starts a fresh child.
        """
        assert self.model
        answer = self._ask({"work": str(work)}, self._settings.timeout_s)
        if "error" in answer:
            raise ComputeError(f"The model failed: {answer['error']}.", remedy="See the log of the compute child.")

    def close(self) -> None:
        """End the child, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process, self._model, self._answers = None, None, b""

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._settings.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # nothing is left to be flushed into the pipe of a dead child
        )
        hello = self._read(START_TIMEOUT_S)
        if "error" in hello:
            self.close()
            raise ComputeError(hello["error"], remedy=hello["remedy"])
        self._model = ModelInUse(ModelCard.from_json(hello["card"]), hello["device"])

    def _ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            log.warning("compute child: its pipe is closed")  # _read tells why
        return self._read(timeout_s)

    def _read(self, timeout_s: float) -> dict[str, Any]:
        """The child's next line. Raises ComputeError, and ends the child, when none comes."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._answers:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.close()
                raise ComputeError(
                    f"The computation took longer than {timeout_s:g} s and was ended.",
                    remedy="Raise model.timeout_s, or give the node a faster device.",
                )
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                code = self._process.wait()
                self.close()
                raise ComputeError(
                    f"The compute child ended ({_death(code)}).",
                    remedy="See its log; with signal 9 the machine is likely short of memory.",
                )
            self._answers += chunk
        line, self._answers = self._answers.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer


def _death(code: int) -> str:
    return f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


# ------------------------------------------------------------------ the work folder's arrays
def save_volumes(path: Path, volumes: Mapping[str, Volume]) -> None:
    """Volumes by role to one .npz; appears whole or not at all."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for role, volume in volumes.items():
        arrays |= {role: volume.voxels, f"{role}.affine": volume.affine}
        if volume.seconds is not None:
            arrays[f"{role}.seconds"] = np.array(volume.seconds)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_volumes(path: Path) -> dict[str, Volume]:
    """Inverse of `save_volumes`."""
    with np.load(path, allow_pickle=False) as arrays:
        return {
            role: Volume(
                arrays[role],
                arrays[f"{role}.affine"],
                tuple(arrays[f"{role}.seconds"].tolist()) if f"{role}.seconds" in arrays else None,
            )
            for role in arrays
            if "." not in role
        }


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path`, durably, when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------ the child's side
def _child(settings: ModelSettings) -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print goes to the log, not into the answers
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    def answer(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")

    try:
        model, device = _load_model(settings)
    except Exception as error:
        log.exception("the model cannot be loaded")
        answer({"error": f"The model cannot be loaded: {error}", "remedy": "Check model.weights, then try again."})
        return
    answer({"card": dict(model.card), "device": device})
    for line in sys.stdin.buffer:
        try:
            _predict(model, Path(json.loads(line)["work"]))
            answer({"done": True})
        except Exception as error:
            log.exception("the model failed")
            answer({"error": f"{type(error).__name__}: {error}"})


def _load_model(settings: ModelSettings) -> tuple[Model, str]:
    found = [point for point in entry_points(group=ENTRY_POINTS) if point.name == settings.name]
    if not found:
        raise ComputeError(f"No model {settings.name!r} is installed.", remedy="Name an installed one in model.name.")
    device = settings.device if settings.device != "auto" else _best_device()
    threads = settings.threads or max(1, (os.cpu_count() or 1) - 1)
    way = {"augmentation": settings.augmentation, "numeric_type": settings.numeric_type}
    return found[0].load()(settings.weights, device=device, threads=threads, **way), device


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


HALF_A_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""About the head-foot axis, in LPS: its own inverse. Registering a prone patient as supine turns the exam by it."""


def _predict(model: Model, work: Path) -> None:
    volumes = load_volumes(work / "volumes.npz")
    if turned := _is_registered_backwards(work):
        volumes = {role: replace(volume, affine=HALF_A_TURN @ volume.affine) for role, volume in volumes.items()}
    started = time.monotonic()
    try:
        finding, *further = model.predict(volumes)
    except ValueError as refusal:
        code = getattr(refusal, "code", None)
        if code is None:
            raise
        document: dict[str, Any] = {"refused": {"code": code, "message": str(refusal)}}
        arrays: dict[str, np.ndarray[Any, Any]] = {}
    else:
        document = {**_score(finding), "completeness_gap": _plain(finding.completeness_gap)}
        document["further"] = [_score(other) for other in further]
        document["measures"] = {key: float(value) for key, value in finding.measures.items()}
        arrays = {name: np.asarray(array) for name, (array, _) in finding.evidence.items()}
        for name, (_, affine) in finding.evidence.items():
            arrays[f"{name}.affine"] = HALF_A_TURN @ affine if turned else np.asarray(affine)
    with whole_file(work / "evidence.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    with whole_file(work / "prediction.json") as temporary:
        temporary.write_text(json.dumps(document, sort_keys=True), encoding="utf-8")
    log.info("model ran for %.1f s", time.monotonic() - started)


def _is_registered_backwards(work: Path) -> bool:
    """Whether the breasts point to the back of the exam as it is registered: the model is shown it turned round.

    The score is of the whole exam and knows no side; what names one is kept from readers by the problem itself.
    """
    path = work / "quality.json"
    noted = json.loads(path.read_text(encoding="utf-8"))["problems"] if path.exists() else []
    return any(problem["code"] in SIDES_UNKNOWN for problem in noted)


def _score(finding: Finding) -> dict[str, Any]:
    names = ("target", "score", "made", "baseline", "contributions", "coalitions")
    return {name: _plain(getattr(finding, name)) for name in names}


def _plain(value: Any) -> Any:
    """Numbers of numpy to Python's, throughout."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s compute %(levelname)s %(message)s")
    _child(ModelSettings.model_validate_json(sys.argv[1]))
