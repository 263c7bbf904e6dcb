"""What the workflows of one process share: its settings, ledger and spool, and how a step fails."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from dbos import DBOS, DBOSPortableJSONSerializer

from .. import pipeline
from ..analysis.inference import ComputeChild, ModelInUse
from ..errors import NodeError
from ..ledger import Ledger
from ..receive.spool import Spool
from ..settings import MODEL_FILE, Settings

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

STUDIES, COMPUTE, DELIVER, WITHDRAW = "studies", "compute", "deliver", "withdraw"
ENGINE_VERSION = "1"  # constant: another one would leave the studies in flight pending for ever
RECOVERIES = 1000  # the engine counts clean restarts, too; crashes of the computation are counted in the ledger
LOOK_EVERY_S = 0.5  # at the ledger, and the engine at its queues: a result waits for few of these


@dataclass(slots=True)
class Process:
    """What the workflows of this process work with; set once before the engine starts."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    compute: ComputeChild | None = None
    enqueued: set[str] = field(default_factory=set)
    locks: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    @property
    def model_file(self) -> Path:
        return self.settings.state_folder / MODEL_FILE

    def work(self, job: str) -> Path:
        study, _, attempt = job.partition("/")
        name = hashlib.sha256(study.encode()).hexdigest()[:32]
        return self.settings.state_folder / "work" / name / attempt.replace("/", "-")

    def header_records(self, study: str) -> Path:
        """Where the headers of a study are kept that were read while it was still coming."""
        return self.spool.folder / "headers" / f"{study}.jsonl"

    def context(self) -> pipeline.Context:
        """Waits until the worker has said which model is in use."""
        while self.compute is None and not self.model_file.exists():
            time.sleep(0.5)
        model = self.compute.model if self.compute else ModelInUse.read(self.model_file)
        return pipeline.Context(self.settings, model, self.compute, self.settings.variants)


_process: Process


def process() -> Process:
    return _process


def start(settings: Settings, role: str, queues: list[str]) -> Process:
    """Configure the engine for this process; `DBOS.launch()` then begins to work on these queues."""
    global _process  # noqa: PLW0603  the engine's workflows are module functions and find their process here
    folder = settings.state_folder
    _process = Process(settings, Ledger(folder / "ledger.sqlite"), Spool(folder / "spool"))
    engine = (folder / "engine.sqlite").resolve()
    with closing(sqlite3.connect(engine)) as connection:  # readers and writers of three processes do not wait
        connection.execute("PRAGMA journal_mode=WAL")
    DBOS(
        config={
            "name": "mome-node",
            "system_database_url": f"sqlite:///{engine}",
            "executor_id": f"{settings.name}-{role}",
            "application_version": ENGINE_VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
    )
    DBOS.listen_queues(queues)
    return _process


# ------------------------------------------------------------------ steps
def step(body: Callable[P, R]) -> Callable[P, R]:
    """A durable step: tried three times; what it raises carries no value of a data set into the engine or the log."""

    @wraps(body)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except NodeError as error:
            log.error("%s: %s", body.__name__, error)
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}"
            log.error("%s: %s", body.__name__, what)
            raise NodeError(f"The node failed ({what}).", remedy="See its log.") from None

    return DBOS.step(retries_allowed=True, max_attempts=3, interval_seconds=1.0)(guarded)


def words_of(error: Exception) -> str:
    """What a workflow's step said, out of the engine's wrapping; `step` has taken care of what it may say."""
    last = (getattr(error, "errors", None) or [error])[-1]
    return str(last)
