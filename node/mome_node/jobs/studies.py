"""One generation of a study: from its files to open deliveries, stage by stage, the model's part on a worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
from dbos import DBOS, SetWorkflowID

from .. import pipeline
from ..analysis import headers
from ..drift import keeping
from ..errors import ComputeError, NodeError
from ..findings import Findings, Problem, ReplacedResult
from ..ledger import (
    TAKEN_BACK,
    AnalysisRecord,
    DeliveredObject,
    DeliveryRecord,
    DeliveryState,
    EventKind,
    Outcome,
    ResultRecord,
    State,
    analysis_id,
)
from ..results.objects import Predecessor
from ..results.plainer import REPORT_CLASSES
from ..settings import Destination
from .engine import COMPUTE, LOOK_EVERY_S, RECOVERIES, process, step, words_of

log = logging.getLogger(__name__)

ASKED = "asked"  # in the work folder: a person wished for this analysis
MODEL_WAIT_S = 30.0  # between two attempts to start a compute child that does not start
DONE = (State.DELIVERED, State.DELIVERING, State.NOT_ANALYSED, State.WITHDRAWN)


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
        _fail(job, words_of(error))
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
    ledger, context, work = process().ledger, process().context(), process().work(job)
    known = ledger.study(study)
    begun = known.assembled_seq >= int(up_to)  # by this very job, before it was killed
    if known.last_image_seq > int(up_to) or (known.withdrawals != int(withdrawals) and not begun):
        return ""  # more images or a withdrawal came while this job waited: a newer one takes up all of them
    began = datetime.now(UTC)
    if not (work / "input.json").exists():  # else it was killed before this step was recorded: time and wish stay
        work.mkdir(parents=True, exist_ok=True)
        if int(retries) > known.taken_retries:
            (work / ASKED).touch()
        _prepare(study, int(up_to), int(withdrawals), work)
    asked = (work / ASKED).exists()
    pipeline.group_series(work, context)
    generation = pipeline.generation(work)
    if not asked and _is_done(study, generation, int(withdrawals)):
        log.info("study %s: these images are analysed already", study)
        ledger.images_add_nothing(study, up_to=int(up_to), retries=int(retries))
        return ""
    identity = pipeline.result_identity(context, int(withdrawals))
    analysis = ledger.begin_analysis(study, generation, identity, up_to=int(up_to), retries=int(retries))
    if analysis.state in (State.DELIVERED, State.DELIVERING, State.WITHDRAWN):
        log.info("study %s: these images are analysed already", study)
        return ""
    if late := _make_room(analysis, asked=asked):
        ledger.set_state(analysis.id, State.PARKED, late)
        return ""
    ledger.stage_started(analysis.id, "group_series", at=began)
    ledger.stage_ended(analysis.id, "group_series")
    return analysis.id


def _is_done(study: str, generation: str, withdrawals: int) -> bool:
    """These images have come to an end before, whatever was withdrawn since: an image more that no model takes."""
    ledger, context = process().ledger, process().context()
    ended = {analysis.id for analysis in ledger.analyses(study) if analysis.state in DONE}
    identities = (pipeline.result_identity(context, n) for n in range(withdrawals + 1))
    return any(analysis_id(study, generation, identity) in ended for identity in identities)


@step
def _fail(job: str, words: str) -> None:
    study, up_to, withdrawals, retries = job.split("/")
    attempt = f"fault-{withdrawals}-{retries}"
    ended = f"{words} Then: `mome-node jobs retry`."
    process().ledger.fail(study, up_to=int(up_to), attempt=attempt, words=ended, retries=int(retries))


def _prepare(uid: str, up_to: int, withdrawals: int, work: Path) -> None:
    """Headers of what was received, but for the node's own results; images that came later belong to the next job."""
    received = process().ledger.instances(uid)
    mine = [i for i in received if not i.own and (i.seq <= up_to or not i.starts)]
    paths = [process().spool.folder / instance.path for instance in mine]
    studies, unusable = headers.read_files(paths, process().header_records(uid))
    found = [study for study in studies if study.study_instance_uid == uid]
    if not found:
        raise NodeError(f"No object of study {uid} can be read from the spool.", remedy="Send the study again.")
    conflicts = [event.words for event in process().ledger.events(uid) if event.kind is EventKind.CONFLICT]
    problems = [Problem.of("CONFLICTING_DUPLICATE", words) for words in conflicts[:1]]
    if unusable:
        words = f"{len(unusable)} received objects could not be read and were left out: {unusable[0].reason}"
        problems.append(Problem.of("OBJECTS_UNREADABLE", words))
    pipeline.prepare(
        work,
        found[0],
        now=datetime.now().astimezone().isoformat(timespec="seconds"),
        withdrawals=withdrawals,
        problems=problems,
        replaces=_replaced(uid),
        predecessors=list(_predecessors(uid)),
    )


def _replaced(study: str) -> dict[str, ReplacedResult]:
    """By variant: the newest result that its destinations have, whose place the next one takes."""
    found: dict[str, ReplacedResult] = {}
    for variant, one in _standing_objects(study):
        if (short := pipeline.in_short(Path(one.path))) is not None:
            found[variant] = short
    return found


def _standing_objects(study: str) -> Iterator[tuple[str, DeliveredObject]]:
    """(Variant, object) of what destinations have of the study and no rejection note names; the oldest first."""
    ledger, settings = process().ledger, process().settings
    variants = {destination.name: settings.variant(destination).name for destination in settings.destinations}
    for analysis in ledger.analyses(study):
        for delivery in ledger.deliveries(analysis.id):
            if delivery.state not in TAKEN_BACK and delivery.destination in variants:
                for one in ledger.delivered_objects(analysis.id, delivery.destination):
                    yield variants[delivery.destination], one


def _predecessors(study: str) -> Iterator[Predecessor]:
    """Reports of the study that destinations have."""
    for variant, one in _standing_objects(study):
        if one.sop_class_uid in REPORT_CLASSES.values():
            yield Predecessor(variant, one.series_instance_uid, one.sop_class_uid, one.sop_instance_uid)


def _make_room(analysis: AnalysisRecord, *, asked: bool) -> str:
    """Supersede what older analyses of the study have not delivered.

    Returns words why this one must wait for a person, or nothing: a result that is out, or was taken back, is followed
    by another only when somebody asks.
    """
    ledger, study = process().ledger, analysis.study_instance_uid
    with process().locks[study]:  # a delivery that is being sent is finished first
        others = [a for a in ledger.analyses(study) if a.id != analysis.id and a.state is not State.SUPERSEDED]
        for older in others:
            by_state = {delivery.state: delivery for delivery in ledger.deliveries(older.id)}
            if not asked and (words := _waits(older, by_state)):
                return words
        for older in others:
            deliveries = ledger.deliveries(older.id)
            for delivery in deliveries:
                ledger.cancel_delivery(older.id, delivery.destination, "Superseded by a newer analysis of the study.")
            out = [d.destination for d in deliveries if d.state is DeliveryState.DELIVERED]
            stays = f" It is withdrawn from {', '.join(out)} once the newer result is there." if out else ""
            if older.state is not State.WITHDRAWN:
                ledger.set_state(older.id, State.SUPERSEDED, f"A newer analysis of the study took its place.{stays}")
    return ""


def _waits(older: AnalysisRecord, deliveries: Mapping[DeliveryState, DeliveryRecord]) -> str:
    """Why images that came late wait for a person; empty where they do not: "not analysed" is replaced by itself."""
    out = deliveries.get(DeliveryState.DELIVERED)
    if out and older.outcome is Outcome.ANALYSED:
        return (
            f"Images came after a result was delivered to {out.destination}; that result does not know them. "
            "To analyse the whole study: `mome-node jobs retry`; the new result then replaces it there."
        )
    if any(state in deliveries for state in TAKEN_BACK):
        return (
            "Images came after the results of this study were withdrawn. To analyse it all the same: "
            "`mome-node jobs retry`."
        )
    return ""


def _same_model(job: str, analysis: str) -> None:
    """A score of one set of weights must not be judged and reported under another."""
    withdrawals = int(job.split("/")[2])
    if (
        pipeline.result_identity(process().context(), withdrawals)
        != process().ledger.analysis(analysis).result_identity
    ):
        raise ComputeError(
            "Weights, device, software or settings changed while this study was under way.",
            remedy="The study must be run again.",
        )


@step
def _run_stage(job: str, analysis: str, stage: str) -> None:
    _same_model(job, analysis)
    process().ledger.stage_started(analysis, stage)
    getattr(pipeline, stage)(process().work(job), process().context())
    process().ledger.stage_ended(analysis, stage)


@step
def _run_model(job: str, analysis: str) -> None:
    """The model, as often as `max_crashes` allows; then the study ends as failed, and the queue goes on."""
    ledger, work, study = process().ledger, process().work(job), job.split("/", maxsplit=1)[0]
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
            if crashes >= process().settings.model.max_crashes:
                pipeline.give_up(work, error)
                break
    ledger.stage_ended(analysis, "run_model")


def _context_with_child() -> pipeline.Context:
    """Waits for a compute child that does not start: that is the node's trouble, and no study's crash."""
    while True:
        try:
            return process().context()
        except ComputeError as error:
            log.error("%s", error)
            time.sleep(MODEL_WAIT_S)


@step
def _open_deliveries(job: str, analysis: str) -> None:
    """Enter outcome and results into the ledger and open a delivery to every destination that gets them."""
    ledger, work = process().ledger, process().work(job)
    findings = pipeline.load_findings(work)
    words = "; ".join(f"{problem.code}: {problem.message}" for problem in findings.reasons)
    facts = {"score": findings.score.score if findings.score else None, "weights": findings.model.weights_sha256}
    ledger.set_outcome(analysis, Outcome(findings.status), facts, words)
    _observe(analysis, findings, work)
    written = sorted((work / "results").glob("*/*.dcm"))
    for path in written:
        ledger.record_result(result_record(path, analysis))
    sending = written and findings.for_readers
    if not sending:
        ledger.set_state(analysis, State.NOT_ANALYSED if findings.status == "not_analysed" else State.FAILED, words)
        _tell_of_what_stands(analysis, words)
    elif not process().settings.destinations:
        nowhere = f"{words} No destination is configured. Add one, then `mome-node jobs retry`."
        ledger.set_state(analysis, State.FAILED, nowhere.strip())
    for destination in process().settings.destinations if sending else ():
        held = _better_stands(analysis, findings, destination) or _too_many_failures(analysis, findings, destination)
        ledger.open_delivery(analysis, destination.name, held=held)
    (work / "volumes.npz").unlink(missing_ok=True)  # large; a retry makes it again from the spool


def _observe(analysis: str, findings: Findings, work: Path) -> None:
    """Keep for the drift watch what the current result of the study shows of its scanner."""
    ledger, settings = process().ledger, process().settings
    if not settings.drift.enabled:
        return
    header, serial = pipeline.acquired_by(work)
    scanner = keeping.scanner(header, ledger.device_key(serial))
    ledger.record_observation(keeping.observation(analysis, findings, scanner, settings.model, datetime.now(UTC)))


def _standing(analysis: str) -> list[tuple[AnalysisRecord, str]]:
    """Older results of the study and the destinations that have them."""
    ledger, study = process().ledger, analysis.split("/", maxsplit=1)[0]
    older = [one for one in ledger.analyses(study) if one.id != analysis]
    return [(a, d.destination) for a in older for d in ledger.deliveries(a.id) if d.state is DeliveryState.DELIVERED]


def _tell_of_what_stands(analysis: str, words: str) -> None:
    """An analysis that sends nothing leaves an older result where it is: a person must decide about it."""
    ledger = process().ledger
    for older, destination in _standing(analysis):
        told = f"An earlier result is still at {destination}, and the newer analysis sends none ({words}). "
        told += "If it no longer holds: `mome-node jobs withdraw`."
        ledger.note(EventKind.ALARM, told, study=older.study_instance_uid, peer=destination)


def _better_stands(analysis: str, findings: Findings, destination: Destination) -> str:
    """A computation that failed must not take the place of a result; empty where it does not."""
    at = [older for older, where in _standing(analysis) if where == destination.name]
    if findings.status != "failed" or not any(older.outcome is Outcome.ANALYSED for older in at):
        return ""
    return "The computation failed, and an earlier result stands there. To analyse it again: `mome-node jobs retry`."


def _too_many_failures(analysis: str, findings: Findings, destination: Destination) -> str:
    """Why a report of a failure is held back, with one alarm for all that follow within the hour; empty where not."""
    if findings.status == "analysed":
        return ""
    ledger, most = process().ledger, destination.failures_per_hour
    if ledger.failures_sent(destination.name, datetime.now(UTC) - timedelta(hours=1), but=analysis) < most:
        return ""
    words = (
        f"{most} studies ended without a result for {destination.name} within an hour; the reports of further ones are "
        "held. Look for a common cause (`mome-node jobs list`), then analyse each again: `mome-node jobs retry`."
    )
    log.error("%s", words)
    ledger.note(EventKind.ALARM, words, peer=destination.name)
    return words


def result_record(path: Path, analysis: str) -> ResultRecord:
    """How the ledger knows an object that the node made; `kind` is the name of its file."""
    made = pydicom.dcmread(
        path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"]
    )
    return ResultRecord(
        sop_instance_uid=made.SOPInstanceUID,
        series_instance_uid=made.SeriesInstanceUID,
        sop_class_uid=made.SOPClassUID,
        analysis_id=analysis,
        kind=path.stem,
        path=str(path),
        created_at=datetime.now(UTC),
    )
