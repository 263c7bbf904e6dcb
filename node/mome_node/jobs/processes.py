"""The two bodies that run workflows: the orchestrator, which turns the ledger into work, and the worker."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

from ..analysis import headers
from ..analysis.inference import ComputeChild
from ..drift import keeping
from ..errors import ComputeError
from ..ledger import DeliveryState
from ..receive import study_assembly
from ..settings import MODEL_ERROR_FILE, Settings
from .deliveries import deliver
from .engine import COMPUTE, DELIVER, LOOK_EVERY_S, STUDIES, WITHDRAW, Process, start
from .studies import analyse_study
from .withdrawals import withdraw

log = logging.getLogger(__name__)

STUDIES_AT_ONCE, DELIVERIES_AT_ONCE = 2, 16  # deliveries: for each destination, so that one that is down holds no other
DRIFT_EVERY_S = 60.0  # as often as monitoring reads metrics


def orchestrate(settings: Settings, stop: threading.Event) -> None:
    """Body of the orchestrator: turn what the ledger says into work, until `stop`."""
    process = start(settings, "orchestrator", [STUDIES, DELIVER, WITHDRAW])
    DBOS.launch()
    DBOS.register_queue(
        STUDIES, partition_concurrency=1, worker_concurrency=STUDIES_AT_ONCE, polling_interval_sec=LOOK_EVERY_S
    )
    for queue in (DELIVER, WITHDRAW):  # a withdrawal does not wait behind deliveries that a PACS keeps refusing
        DBOS.register_queue(queue, partition_worker_concurrency=DELIVERIES_AT_ONCE, polling_interval_sec=LOOK_EVERY_S)
    DBOS.register_queue(COMPUTE, worker_concurrency=1, polling_interval_sec=LOOK_EVERY_S)
    log.info("orchestrator is up")
    threading.Thread(target=_read_ahead, args=(process, stop), name="read-ahead", daemon=True).start()
    if settings.drift.enabled:
        threading.Thread(target=_watch_drift, args=(process, stop), name="drift-watch", daemon=True).start()
    while not stop.wait(LOOK_EVERY_S):
        if process.model_file.exists():  # without a model studies wait, and results that are made are delivered
            _enqueue_complete_studies(process)
        _enqueue_deliveries(process)


def work(settings: Settings, stop: threading.Event) -> None:
    """Body of a worker: hold the compute child and run the model, one study at a time, until `stop`.

    Raises ComputeError when the model cannot be loaded; the reason then lies in the state folder, for `jobs list`.
    """
    process = start(settings, "worker-0", [COMPUTE])
    reason = settings.state_folder / MODEL_ERROR_FILE
    process.compute = ComputeChild(settings.model)
    try:
        process.compute.model.write(process.model_file)
    except ComputeError as error:
        reason.write_text(str(error), encoding="utf-8")
        raise
    reason.unlink(missing_ok=True)
    DBOS.launch()
    log.info("worker is up: %s on %s", process.compute.model.card.name, process.compute.model.device)
    stop.wait()


# ------------------------------------------------------------------ while studies are still coming
def _read_ahead(process: Process, stop: threading.Event) -> None:
    """Read the header of each image once, as it comes: a complete study then waits for none of them."""
    ledger, read = process.ledger, dict[str, int]()
    while not stop.wait(LOOK_EVERY_S):
        waiting = {study.study_instance_uid: study.last_image_seq for study in ledger.studies_with_new_images()}
        for uid, newest in waiting.items():
            if read.get(uid) != newest:
                paths = [process.spool.folder / instance.path for instance in ledger.instances(uid) if not instance.own]
                try:
                    headers.read_ahead(paths, process.header_records(uid))
                except OSError as error:  # the study's own job reads them then
                    log.warning("study %s: headers are not read ahead: %s", uid, error.strerror)
        read = waiting


# ------------------------------------------------------------------ the drift watch
def _watch_drift(process: Process, stop: threading.Event) -> None:
    """Write metrics and digests. Nothing that fails here may hold up a study."""
    while True:
        if process.model_file.exists():  # its card holds the reference
            try:
                keeping.write(process.ledger, process.settings, datetime.now(UTC))
            except Exception as error:
                reason = error.strerror if isinstance(error, OSError) else type(error).__name__
                log.error("drift watch: nothing is written (%s); check drift.metrics_file and the disk", reason)
        if stop.wait(DRIFT_EVERY_S):
            return


# ------------------------------------------------------------------ the outbox
def _enqueue_complete_studies(process: Process) -> None:
    ledger, settings, now = process.ledger, process.settings, datetime.now(UTC)
    for study in ledger.studies_with_new_images():
        uid = study.study_instance_uid
        job = f"{uid}/{study.last_image_seq}/{study.withdrawals}/{study.retries}"
        if job in process.enqueued:
            continue
        if study_assembly.decide(study, ledger.open_associations(uid), settings.assembly, now).complete:
            with SetWorkflowID(f"study/{job}"), SetEnqueueOptions(queue_partition_key=uid):
                DBOS.enqueue_workflow(STUDIES, analyse_study, job)
            process.enqueued.add(job)


def _enqueue_deliveries(process: Process) -> None:
    for delivery in process.ledger.deliveries_in(DeliveryState.WAITING, DeliveryState.WITHDRAWING):
        withdrawing = delivery.state is DeliveryState.WITHDRAWING
        opened = f"{delivery.created_at:%Y%m%d%H%M%S%f}"
        verb = "withdraw" if withdrawing else "deliver"
        name = f"{verb}/{delivery.analysis_id}/{delivery.destination}/{opened}"
        if name not in process.enqueued:
            with SetWorkflowID(name), SetEnqueueOptions(queue_partition_key=delivery.destination):
                queue, workflow = (WITHDRAW, withdraw) if withdrawing else (DELIVER, deliver)
                DBOS.enqueue_workflow(queue, workflow, delivery.analysis_id, delivery.destination)
            process.enqueued.add(name)
