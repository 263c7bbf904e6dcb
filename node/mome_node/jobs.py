"""The durable workflows. The only module that knows the job engine (DBOS); it decides nothing about medicine.

The ledger is the outbox: reception writes what came, people write what they wish, and the orchestrator reads both once
a second and enqueues, idempotently, under names that say what the work is. Every step can be killed and run again:

    study/<job>       take up -> group ... conclude, write -> open deliveries
    compute/<job>     the model, on a worker
    deliver/<analysis>/<destination>/<opened>   send, wait, send again, for days

A job is named <study>/<images up to>/<withdrawals>/<retries>: the same work has the same name, and is done once.

Arguments and results of steps are names and numbers; no pixels and no patient data enter the engine.
"""

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
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import pydicom
from dbos import DBOS, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from . import pipeline
from .analysis import headers
from .analysis.inference import ComputeChild, ModelInUse
from .delivery import storage_scu
from .errors import ComputeError, DeliveryError, NodeError
from .findings import Problem
from .ledger import AnalysisRecord, DeliveryState, EventKind, Ledger, Outcome, ResultRecord, State
from .receive import study_assembly
from .receive.spool import Spool
from .settings import MODEL_ERROR_FILE, MODEL_FILE, Destination, Settings

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

STUDIES, COMPUTE, DELIVER = "studies", "compute", "deliver"
ENGINE_VERSION = "1"  # constant: another one would leave the studies in flight pending for ever
RECOVERIES = 1000  # the engine counts clean restarts, too; crashes of the computation are counted in the ledger
STUDIES_AT_ONCE, DELIVERIES_AT_ONCE = 2, 16  # deliveries: for each destination, so that one that is down holds no other
LOOK_EVERY_S = 0.5  # at the ledger, and the engine at its queues: a result waits for few of these
MODEL_WAIT_S = 30.0  # between two attempts to start a compute child that does not start
DONE = (State.DELIVERED, State.DELIVERING, State.NOT_ANALYSED, State.WITHDRAWN)


@dataclass(slots=True)
class _Process:
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

    def context(self) -> pipeline.Context:
        """Waits until the worker has said which model is in use."""
        while self.compute is None and not self.model_file.exists():
            time.sleep(0.5)
        variants = {destination.shown_advice for destination in self.settings.destinations} or {"with_result"}
        model = self.compute.model if self.compute else ModelInUse.read(self.model_file)
        return pipeline.Context(self.settings, model, self.compute, tuple(sorted(variants)))


_process: _Process


# ------------------------------------------------------------------ the processes
def orchestrate(settings: Settings, stop: threading.Event) -> None:
    """Body of the orchestrator: turn what the ledger says into work, until `stop`."""
    _start(settings, "orchestrator", [STUDIES, DELIVER])
    DBOS.launch()
    DBOS.register_queue(
        STUDIES, partition_concurrency=1, worker_concurrency=STUDIES_AT_ONCE, polling_interval_sec=LOOK_EVERY_S
    )
    DBOS.register_queue(DELIVER, partition_worker_concurrency=DELIVERIES_AT_ONCE, polling_interval_sec=LOOK_EVERY_S)
    DBOS.register_queue(COMPUTE, worker_concurrency=1, polling_interval_sec=LOOK_EVERY_S)
    log.info("orchestrator is up")
    while not stop.wait(LOOK_EVERY_S):
        if _process.model_file.exists():  # without a model studies wait, and results that are made are delivered
            _enqueue_complete_studies()
        _enqueue_deliveries()


def work(settings: Settings, stop: threading.Event) -> None:
    """Body of a worker: hold the compute child and run the model, one study at a time, until `stop`.

    Raises ComputeError when the model cannot be loaded; the reason then lies in the state folder, for `jobs list`.
    """
    _start(settings, "worker-0", [COMPUTE])
    reason = settings.state_folder / MODEL_ERROR_FILE
    _process.compute = ComputeChild(settings.model)
    try:
        _process.compute.model.write(_process.model_file)
    except ComputeError as error:
        reason.write_text(str(error), encoding="utf-8")
        raise
    reason.unlink(missing_ok=True)
    DBOS.launch()
    log.info("worker is up: %s on %s", _process.compute.model.card.name, _process.compute.model.device)
    stop.wait()


def _start(settings: Settings, role: str, queues: list[str]) -> None:
    global _process  # noqa: PLW0603  the engine's workflows are module functions and find their process here
    folder = settings.state_folder
    _process = _Process(settings, Ledger(folder / "ledger.sqlite"), Spool(folder / "spool"))
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


# ------------------------------------------------------------------ the outbox
def _enqueue_complete_studies() -> None:
    ledger, settings, now = _process.ledger, _process.settings, datetime.now(UTC)
    for study in ledger.studies_with_new_images():
        uid = study.study_instance_uid
        job = f"{uid}/{study.last_image_seq}/{study.withdrawals}/{study.retries}"
        if job in _process.enqueued:
            continue
        if study_assembly.decide(study, ledger.open_associations(uid), settings.assembly, now).complete:
            with SetWorkflowID(f"study/{job}"), SetEnqueueOptions(queue_partition_key=uid):
                DBOS.enqueue_workflow(STUDIES, analyse_study, job)
            _process.enqueued.add(job)


def _enqueue_deliveries() -> None:
    for delivery in _process.ledger.deliveries_in(DeliveryState.WAITING):
        opened = f"{delivery.created_at:%Y%m%d%H%M%S%f}"
        name = f"deliver/{delivery.analysis_id}/{delivery.destination}/{opened}"
        if name not in _process.enqueued:
            with SetWorkflowID(name), SetEnqueueOptions(queue_partition_key=delivery.destination):
                DBOS.enqueue_workflow(DELIVER, deliver, delivery.analysis_id, delivery.destination)
            _process.enqueued.add(name)


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


def _words(error: Exception) -> str:
    """What a workflow's step said, out of the engine's wrapping; `step` has taken care of what it may say."""
    last = (getattr(error, "errors", None) or [error])[-1]
    return str(last)


# ------------------------------------------------------------------ one study
@DBOS.workflow(max_recovery_attempts=RECOVERIES)
def analyse_study(job: str) -> str:
    """One generation of a study, from its files to open deliveries. Returns the name of its analysis, or nothing.

    Whatever fails, the study ends in a state that a person sees and can retry.
    """
    try:
        analysis = _take_up(job)
        if analysis:
            for stage in pipeline.STAGES[1:]:
                if stage is pipeline.run_model:
                    with SetWorkflowID(f"compute/{job}"):
                        handle = DBOS.enqueue_workflow(COMPUTE, compute_study, job, analysis)
                    handle.get_result(polling_interval_sec=LOOK_EVERY_S)
                else:
                    _run_stage(job, analysis, stage.__name__)
            _open_deliveries(job, analysis)
    except Exception as error:
        _fail(job, _words(error))
        return ""
    return analysis


@DBOS.workflow(max_recovery_attempts=RECOVERIES)
def compute_study(job: str, analysis: str) -> None:
    """The model's part of a study; runs on a worker."""
    _run_model(job, analysis)


@step
def _take_up(job: str) -> str:
    """Headers and grouping; then the ledger says whether this generation is new. The analysis to run, or nothing."""
    study, up_to, withdrawals, retries = job.split("/")
    ledger, context, work = _process.ledger, _process.context(), _process.work(job)
    if ledger.study(study).last_image_seq > int(up_to):
        return ""  # more images came while this job waited: a newer one takes up all of them
    began = datetime.now(UTC)
    if not (work / "input.json").exists():  # else it was killed before this step was recorded: the job's time stays
        _prepare(study, int(up_to), int(withdrawals), work)
    pipeline.group_series(work, context)
    identity = pipeline.result_identity(context, int(withdrawals))
    analysis = ledger.begin_analysis(study, pipeline.generation(work), identity, up_to=int(up_to))
    if analysis.state in DONE and not (analysis.state is State.NOT_ANALYSED and int(retries)):
        log.info("study %s: these images are analysed already", study)
        return ""
    if late := _make_room(analysis, asked=int(retries) > 0):
        ledger.set_state(analysis.id, State.PARKED, late)
        return ""
    ledger.stage_started(analysis.id, "group_series", at=began)
    ledger.stage_ended(analysis.id, "group_series")
    return analysis.id


@step
def _fail(job: str, words: str) -> None:
    study, up_to, withdrawals, retries = job.split("/")
    attempt = f"fault-{withdrawals}-{retries}"
    ended = f"{words} Then: `mome-node jobs retry`."
    _process.ledger.fail(study, up_to=int(up_to), attempt=attempt, words=ended)


def _prepare(uid: str, up_to: int, withdrawals: int, work: Path) -> None:
    """Headers of what was received, but for the node's own results; images that came later belong to the next job."""
    received = _process.ledger.instances(uid)
    mine = [i for i in received if not i.own and (i.seq <= up_to or not i.starts)]
    studies, unusable = headers.read_files([_process.spool.folder / instance.path for instance in mine])
    found = [study for study in studies if study.study_instance_uid == uid]
    if not found:
        raise NodeError(f"No object of study {uid} can be read from the spool.", remedy="Send the study again.")
    conflicts = [event.words for event in _process.ledger.events(uid) if event.kind is EventKind.CONFLICT]
    problems = [Problem.of("CONFLICTING_DUPLICATE", words) for words in conflicts[:1]]
    if unusable:
        words = f"{len(unusable)} received objects could not be read and were left out: {unusable[0].reason}"
        problems.append(Problem.of("OBJECTS_UNREADABLE", words))
    pipeline.prepare(
        work,
        found[0],
        now=datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds"),
        withdrawals=withdrawals,
        problems=problems,
    )


def _make_room(analysis: AnalysisRecord, *, asked: bool) -> str:
    """Supersede what older analyses of the study have not delivered.

    Returns words why this one must wait for a person, or nothing: a delivered result is replaced when somebody asks.
    """
    ledger, study = _process.ledger, analysis.study_instance_uid
    with _process.locks[study]:  # a delivery that is being sent is finished first
        for older in ledger.analyses(study):
            if older.id == analysis.id or older.state is State.SUPERSEDED:
                continue
            deliveries = ledger.deliveries(older.id)
            out = [d.destination for d in deliveries if d.state is DeliveryState.DELIVERED]
            if out and not asked:
                return (
                    f"Images came after a result was delivered to {', '.join(out)}; that result does not know them. "
                    "To analyse the whole study: `mome-node jobs retry`; the earlier result stays in the PACS."
                )
            for delivery in deliveries:
                ledger.cancel_delivery(older.id, delivery.destination, "Superseded by a newer analysis of the study.")
            stays = f" Its result is still at {', '.join(out)}: withdraw it there." if out else ""
            ledger.set_state(older.id, State.SUPERSEDED, f"A newer analysis of the study took its place.{stays}")
    return ""


def _same_model(job: str, analysis: str) -> None:
    """A score of one set of weights must not be judged and reported under another."""
    withdrawals = int(job.split("/")[2])
    if pipeline.result_identity(_process.context(), withdrawals) != _process.ledger.analysis(analysis).result_identity:
        raise ComputeError(
            "Weights, device, software or settings changed while this study was under way.",
            remedy="The study must be run again.",
        )


@step
def _run_stage(job: str, analysis: str, stage: str) -> None:
    _same_model(job, analysis)
    _process.ledger.stage_started(analysis, stage)
    getattr(pipeline, stage)(_process.work(job), _process.context())
    _process.ledger.stage_ended(analysis, stage)


@step
def _run_model(job: str, analysis: str) -> None:
    """The model, as often as `max_crashes` allows; then the study ends as failed, and the queue goes on."""
    ledger, work, study = _process.ledger, _process.work(job), job.split("/", maxsplit=1)[0]
    _same_model(job, analysis)
    ledger.stage_started(analysis, "run_model")
    while True:
        context = _context_with_child()
        try:
            pipeline.run_model(work, context)
            break
        except ComputeError as error:
            crashes = ledger.count_crash(study)
            log.error("study %s: %s", study, error)
            if crashes >= _process.settings.model.max_crashes:
                pipeline.give_up(work, error)
                break
    ledger.stage_ended(analysis, "run_model")


def _context_with_child() -> pipeline.Context:
    """Waits for a compute child that does not start: that is the node's trouble, and no study's crash."""
    while True:
        try:
            return _process.context()
        except ComputeError as error:
            log.error("%s", error)
            time.sleep(MODEL_WAIT_S)


@step
def _open_deliveries(job: str, analysis: str) -> None:
    """Enter outcome and results into the ledger and open a delivery to every destination that gets them."""
    ledger, work = _process.ledger, _process.work(job)
    findings = pipeline.load_findings(work)
    words = "; ".join(f"{problem.code}: {problem.message}" for problem in findings.reasons)
    facts = {"score": findings.score.score if findings.score else None, "weights": findings.model.weights_sha256}
    ledger.set_outcome(analysis, Outcome(findings.status), facts, words)
    written = sorted((work / "results").glob("*/*.dcm"))
    for path in written:
        ledger.record_result(_result(path, analysis))
    if not (written and findings.for_readers):
        ledger.set_state(analysis, State.NOT_ANALYSED if findings.status == "not_analysed" else State.FAILED, words)
    elif not _process.settings.destinations:
        nowhere = f"{words} No destination is configured. Add one, then `mome-node jobs retry`."
        ledger.set_state(analysis, State.FAILED, nowhere.strip())
    for destination in _process.settings.destinations if written and findings.for_readers else ():
        ledger.open_delivery(analysis, destination.name)
    (work / "volumes.npz").unlink(missing_ok=True)  # large; a retry makes it again from the spool


def _result(path: Path, analysis: str) -> ResultRecord:
    made = pydicom.dcmread(
        path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"]
    )
    kind = {"report": "sr", "overlay": "sc"}[path.stem]
    return ResultRecord(
        sop_instance_uid=made.SOPInstanceUID,
        series_instance_uid=made.SeriesInstanceUID,
        sop_class_uid=made.SOPClassUID,
        analysis_id=analysis,
        kind=kind,
        path=str(path),
        created_at=datetime.now(UTC),
    )


# ------------------------------------------------------------------ one delivery
@DBOS.workflow(max_recovery_attempts=RECOVERIES)
def deliver(analysis: str, destination: str) -> None:
    """Send the results of an analysis to one destination, and again, until it has them or a person must act."""
    try:
        while (wait_s := _attempt(analysis, destination)) is not None:
            DBOS.sleep(wait_s)
    except Exception as error:
        _give_up_delivery(analysis, destination, _words(error))


@step
def _attempt(analysis: str, name: str) -> float | None:
    """One attempt. Seconds until the next one, or None when there is none."""
    ledger = _process.ledger
    with _process.locks[analysis.split("/", maxsplit=1)[0]]:
        delivery = next(d for d in ledger.deliveries(analysis) if d.destination == name)
        if delivery.state is not DeliveryState.WAITING:
            return None
        words, final = _send(analysis, name)
        if not final and words:
            wait_s = _wait(name, delivery.attempts, delivery.created_at)
            at = None if wait_s is None else datetime.now(UTC) + timedelta(seconds=wait_s)
            over = "" if at else " Then: `mome-node jobs retry`."
            ledger.attempt_failed(analysis, name, words + over, next_try_at=at)
            return wait_s
        if final:
            ledger.attempt_failed(analysis, name, f"{words} Then: `mome-node jobs retry`.", next_try_at=None)
        return None


def _send(analysis: str, name: str) -> tuple[str, bool]:
    """What went wrong in words (empty: it was delivered), and whether trying again cannot help."""
    ledger = _process.ledger
    try:
        destination = _process.settings.destination(name)
        newest = max(ledger.results(analysis), key=lambda result: result.created_at)
        files = sorted((Path(newest.path).parents[1] / destination.shown_advice).glob("*.dcm"))
        if not files:
            return f"The result was not made for advice = {destination.shown_advice!r}, which was set later.", True
        sent = storage_scu.send(destination, files, _process.settings.receiver.ae_title)
    except NodeError as error:
        return str(error), isinstance(error, DeliveryError) and error.final
    refused = [one for one in sent if not one.sent]
    if refused:
        return refused[0].words, all(one.final for one in refused)
    ledger.delivered(analysis, name, "; ".join(one.words for one in sent if one.words))
    return "", False


def _wait(name: str, attempts: int, opened: datetime) -> float | None:
    """Seconds until the next attempt; None when the time for attempts is over or the destination is gone."""
    destination = next((d for d in _process.settings.destinations if d.name == name), None)
    if destination is None or datetime.now(UTC) - opened > timedelta(hours=destination.retry_for_h):
        return None
    return _delay(destination, attempts)


def _delay(destination: Destination, attempts: int) -> float:
    """Doubled with every attempt, up to the longest."""
    return float(min(destination.retry_first_s * 2 ** min(attempts, 30), destination.retry_longest_s))


@step
def _give_up_delivery(analysis: str, name: str, words: str) -> None:
    _process.ledger.attempt_failed(analysis, name, f"{words} Then: `mome-node jobs retry`.", next_try_at=None)
