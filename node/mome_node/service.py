"""Starts, watches and stops the processes of a node: receiver, orchestrator, worker. The only module that knows all.

Each is a child of its own, so that none can take another down: the receiver knows no job engine and no torch, the
orchestrator no torch, and the worker's compute child alone loads it. A child that ends is started again. The children
hold the other end of a pipe: when the supervisor is killed, they end, too, and a new node can start.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from .errors import NodeError, SettingsError, StateFolderError
from .settings import MODEL_ERROR_FILE, MODEL_FILE, Settings

log = logging.getLogger(__name__)

ROLES = ("receiver", "orchestrator", "worker")
STOP_PATIENCE_S = 15.0  # then SIGKILL: every step can be killed
RESTART_WAITS_S = (0.5, 1, 2, 5, 10, 30)  # after the first, second ... death in a row
STABLE_S = 60.0  # a child that lived so long starts with short waits again


def serve(settings: Settings) -> None:
    """Run the node until SIGTERM or SIGINT.

    Raises StateFolderError when another node runs on the same state folder or the folder cannot be written, and
    SettingsError for a broken file of the site and in clinical mode with weights that were not evaluated on patients.
    """
    from .pipeline import check_site_files

    os.umask(0o077)  # spool, ledger and work files hold patients' data: nobody else on this machine reads them
    check_site_files(settings)
    _refuse_unfit_weights(settings)
    with state_lock(settings.state_folder):
        for file in (MODEL_FILE, MODEL_ERROR_FILE):  # the worker says anew which model is in use
            (settings.state_folder / file).unlink(missing_ok=True)
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        children = [_Child(role, settings) for role in ROLES]
        try:
            while not stopping.wait(0.2):
                for child in children:
                    child.keep_alive()
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.end()


def _refuse_unfit_weights(settings: Settings) -> None:
    if settings.mode != "clinical":
        return
    from .analysis.inference import ComputeChild
    from .pipeline import clinical_problem

    with ComputeChild(settings.model) as compute:
        if problem := clinical_problem(settings, compute.model.card):
            raise SettingsError(problem, remedy='Set mode = "research", or give evaluated weights in model.weights.')


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Exclusive use of the state folder by one node; released by the system even when the node is killed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise StateFolderError(
            f"The state folder {folder} cannot be used: {error.strerror}.",
            remedy="Give this user the right to write there, or set state_folder.",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StateFolderError(
                f"Another mome-node runs on {folder} (process {file.read().strip() or 'unknown'}).",
                remedy="Stop it first, or give this one a state_folder of its own.",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class _Child:
    """One process of the node, started again when it ends."""

    def __init__(self, role: str, settings: Settings) -> None:
        self.role = role
        self._settings = settings.model_dump_json().encode() + b"\n"
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._started = self._next_start = 0.0

    def keep_alive(self) -> None:
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._deaths = 0 if now - self._started > STABLE_S else self._deaths + 1
            wait = RESTART_WAITS_S[min(self._deaths, len(RESTART_WAITS_S) - 1)]
            log.error("%s ended (exit %s); starts again in %g s", self.role, self._process.returncode, wait)
            self._process, self._next_start = None, now + wait
        if self._process is None and now >= self._next_start:
            self._process = subprocess.Popen([sys.executable, "-m", __name__, self.role], stdin=subprocess.PIPE)
            assert self._process.stdin is not None
            self._process.stdin.write(self._settings)
            self._process.stdin.flush()
            self._started = now
            log.info("%s started as process %d", self.role, self._process.pid)

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# ------------------------------------------------------------------ the children
def _receive(settings: Settings, stop: threading.Event) -> None:
    from .receive import storage_scp

    storage_scp.serve(settings, stop)


def _orchestrate(settings: Settings, stop: threading.Event) -> None:
    from . import jobs

    jobs.orchestrate(settings, stop)


def _work(settings: Settings, stop: threading.Event) -> None:
    from . import jobs

    jobs.work(settings, stop)


BODIES: dict[str, Callable[[Settings, threading.Event], None]] = {
    "receiver": _receive,
    "orchestrator": _orchestrate,
    "worker": _work,
}


def _run_child(role: str) -> None:
    settings = Settings.model_validate_json(sys.stdin.buffer.readline())
    stop = threading.Event()

    def stopped(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the supervisor passes on the end
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    code = 1
    try:
        BODIES[role](settings, stop)
        code = 0
    except NodeError as error:
        log.error("%s", error)
    except Exception:
        log.exception("the %s failed", role)
    finally:
        logging.shutdown()
        os._exit(code)  # at once: threads of the engine may sleep for hours, and every step can be killed


def _end_with_supervisor() -> None:
    while os.read(0, 1):  # returns nothing when the supervisor's end of the pipe closes
        pass
    os._exit(1)


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s {sys.argv[1]} %(levelname)s %(message)s",
    )
    _run_child(sys.argv[1])
