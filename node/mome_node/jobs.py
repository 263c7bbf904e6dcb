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
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
from .settings import MODEL_FILE, Destination, Settings

log = logging.getLogger(__name__)

STUDIES, COMPUTE, DELIVER = "studies", "compute", "deliver"
ENGINE_VERSION = "1"  # constant: another one would leave the studies in flight pending for ever
RECOVERIES = 1000  # the engine counts clean restarts, too; crashes of the computation are counted in the ledger
STUDIES_AT_ONCE, DELIVERIES_AT_ONCE = 2, 64
LOOK_EVERY_S = 1.0
DONE = (State.DELIVERED, State.DELIVERING, State.NOT_ANALYSED, State.WITHDRAWN)


@dataclass(slots=True)
class _Process:
    """What the workflows of this process work with; set once before the engine starts."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    compute: ComputeChild | None = None
    enqueued: set[str] = field(default_factory=set)

    @property
    def model_file(self) -> Path:
        return self.settings.state_folder / MODEL_FILE

    def work(self, job: str) -> Path:
        study, _, attempt = job.partition("/")
        name = hashlib.sha256(study.encode()).hexdigest()[:32]
        return self.settings.state_folder / "work" / name / attempt.replace("/", "-")

    def context(self) -> pipeline.Context:
        variants = {destination.shown_advice for destination in self.settings.destinations} or {"with_result"}
        model = self.compute.model if self.compute else ModelInUse.read(self.model_file)
        return pipeline.Context(self.settings, model, self.compute, tuple(sorted(variants)))


_process: _Process


# ------------------------------------------------------------------ the processes
def orchestrate(settings: Settings, stop: threading.Event) -> None:
    """Body of the orchestrator: turn what the ledger says into work, until `stop`."""
    _start(settings, "orchestrator", [STUDIES, DELIVER])
    while not _process.model_file.exists():  # the worker says which model is in use
        if stop.wait(0.2):
            return
    DBOS.launch()
    DBOS.register_queue(STUDIES, partition_concurrency=1, worker_concurrency=STUDIES_AT_ONCE)
    DBOS.register_queue(DELIVER, worker_concurrency=DELIVERIES_AT_ONCE)
    DBOS.register_queue(COMPUTE, worker_concurrency=1)
    log.info("orchestrator is up")
    while not stop.wait(LOOK_EVERY_S):
        _enqueue_complete_studies()
        _enqueue_deliveries()
    DBOS.destroy(workflow_completion_timeout_sec=0)


def work(settings: Settings, stop: threading.Event) -> None:
    """Body of a worker: hold the compute child and run the model, one study at a time, until `stop`."""
    _start(settings, "worker-0", [COMPUTE])
    with ComputeChild(settings.model) as compute:
        _process.compute = compute
        compute.model.write(_process.model_file)
        DBOS.launch()
        log.info("worker is up: %s on %s", compute.model.card.name, compute.model.device)
        stop.wait()
    DBOS.destroy(workflow_completion_timeout_sec=0)


def _start(settings: Settings, role: str, queues: list[str]) -> None:
    global _process  # noqa: PLW0603  the engine's workflows are module functions and find their process here
    folder = settings.state_folder
    _process = _Process(settings, Ledger(folder / "ledger.sqlite"), Spool(folder / "spool"))
    DBOS(
        config={
            "name": "mome-node",
            "system_database_url": f"sqlite:///{(folder / 'engine.sqlite').resolve()}",
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
            with SetWorkflowID(name):
                DBOS.enqueue_workflow(DELIVER, deliver, delivery.analysis_id, delivery.destination)
            _process.enqueued.add(name)


# ------------------------------------------------------------------ one study
@DBOS.workflow(max_recovery_attempts=RECOVERIES)
def analyse_study(job: str) -> str:
    """One generation of a study, from its files to open deliveries. Returns the name of its analysis."""
    taken = _take_up(job)
    analysis = str(taken["id"])
    if taken["run"]:
        for stage in pipeline.STAGES[1:]:
            if stage is pipeline.run_model:
                with SetWorkflowID(f"compute/{job}"):
                    handle = DBOS.enqueue_workflow(COMPUTE, compute_study, job, analysis)
                handle.get_result()
            else:
                _run_stage(job, analysis, stage.__name__)
        _open_deliveries(job, analysis)
    return analysis


@DBOS.workflow(max_recovery_attempts=RECOVERIES)
def compute_study(job: str, analysis: str) -> None:
    """The model's part of a study; runs on a worker."""
    _run_model(job, analysis)


@DBOS.step()
def _take_up(job: str) -> dict[str, Any]:
    """Headers and grouping; then the ledger says whether this generation is new. {"id": ..., "run": bool}."""
    study, up_to, withdrawals, retries = job.split("/")
    ledger, context, work = _process.ledger, _process.context(), _process.work(job)
    if not (work / "input.json").exists():  # else it was killed before this step was recorded: the job's time stays
        _prepare(study, int(up_to), int(withdrawals), work)
    began = time.monotonic()
    pipeline.group_series(work, context)
    identity = pipeline.result_identity(context, int(withdrawals))
    analysis = ledger.begin_analysis(study, pipeline.generation(work), identity, up_to=int(up_to))
    if analysis.state in DONE:
        log.info("study %s: these images are analysed already", study)
        return {"id": analysis.id, "run": False}
    if late := _make_room(analysis, asked=int(retries) > 0):
        ledger.set_state(analysis.id, State.PARKED, late)
        return {"id": analysis.id, "run": False}
    ledger.stage_started(analysis.id, "group_series")
    ledger.stage_ended(analysis.id, "group_series", f"{time.monotonic() - began:.1f} s")
    return {"id": analysis.id, "run": True}


def _prepare(uid: str, up_to: int, withdrawals: int, work: Path) -> None:
    """Headers of what was received, but for the node's own results; images that came later belong to the next job."""
    received = _process.ledger.instances(uid)
    mine = [i for i in received if not i.own and (i.seq <= up_to or not i.starts)]
    studies, _ = headers.read_files([_process.spool.folder / instance.path for instance in mine])
    (study,) = (found for found in studies if found.study_instance_uid == uid)
    conflicts = [event.words for event in _process.ledger.events(uid) if event.kind is EventKind.CONFLICT]
    pipeline.prepare(
        work,
        study,
        now=datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds"),
        withdrawals=withdrawals,
        problems=[Problem.of("CONFLICTING_DUPLICATE", words) for words in conflicts[:1]],
    )


def _make_room(analysis: AnalysisRecord, *, asked: bool) -> str:
    """Supersede what older analyses of the study have not delivered.

    Returns words why this one must wait for a person, or nothing: a delivered result is replaced when somebody asks.
    """
    ledger = _process.ledger
    for older in ledger.analyses(analysis.study_instance_uid):
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


@DBOS.step()
def _run_stage(job: str, analysis: str, stage: str) -> None:
    _process.ledger.stage_started(analysis, stage)
    getattr(pipeline, stage)(_process.work(job), _process.context())
    _process.ledger.stage_ended(analysis, stage)


@DBOS.step()
def _run_model(job: str, analysis: str) -> None:
    """The model, as often as `max_crashes` allows; then the study ends as failed, and the queue goes on."""
    ledger, work, study = _process.ledger, _process.work(job), job.split("/", maxsplit=1)[0]
    ledger.stage_started(analysis, "run_model")
    while True:
        try:
            pipeline.run_model(work, _process.context())
            break
        except ComputeError as error:
            crashes = ledger.count_crash(study)
            log.error("study %s: %s", study, error)
            if crashes >= _process.settings.model.max_crashes:
                pipeline.give_up(work, error)
                break
    ledger.stage_ended(analysis, "run_model")


@DBOS.step()
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
    if written and findings.for_readers and _process.settings.destinations:
        for destination in _process.settings.destinations:
            ledger.open_delivery(analysis, destination.name)
    else:
        ends = {"analysed": State.DELIVERED, "not_analysed": State.NOT_ANALYSED, "failed": State.FAILED}
        ledger.set_state(analysis, ends[findings.status], words or "No destination is configured.")
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
    while (wait_s := _attempt(analysis, destination)) is not None:
        DBOS.sleep(wait_s)


@DBOS.step()
def _attempt(analysis: str, name: str) -> float | None:
    """One attempt. Seconds until the next one, or None when there is none."""
    ledger = _process.ledger
    delivery = next(d for d in ledger.deliveries(analysis) if d.destination == name)
    if delivery.state is not DeliveryState.WAITING:
        return None
    try:
        destination = _process.settings.destination(name)
        folder = Path(ledger.results(analysis)[0].path).parents[1] / destination.shown_advice
        sent = storage_scu.send(destination, sorted(folder.glob("*.dcm")), _process.settings.receiver.ae_title)
    except NodeError as error:
        final = error.final if isinstance(error, DeliveryError) else False
        return _try_later(analysis, delivery.attempts, delivery.created_at, name, str(error), final=final)
    refused = [one for one in sent if not one.sent]
    if refused:
        final = all(one.final for one in refused)
        return _try_later(analysis, delivery.attempts, delivery.created_at, name, refused[0].words, final=final)
    ledger.delivered(analysis, name, "; ".join(one.words for one in sent if one.words))
    return None


def _try_later(analysis: str, attempts: int, opened: datetime, name: str, words: str, *, final: bool) -> float | None:
    now = datetime.now(UTC)
    destination = _destination(name)
    over = destination is None or now - opened > timedelta(hours=destination.retry_for_h)
    if final or over or destination is None:
        _process.ledger.attempt_failed(analysis, name, f"{words} Then: `mome-node jobs retry`.", next_try_at=None)
        return None
    wait_s = float(min(destination.retry_first_s * 2**attempts, destination.retry_longest_s))
    _process.ledger.attempt_failed(analysis, name, words, next_try_at=now + timedelta(seconds=wait_s))
    return wait_s


def _destination(name: str) -> Destination | None:
    return next((d for d in _process.settings.destinations if d.name == name), None)
