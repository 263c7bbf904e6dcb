"""`mome-node cohort`: DICOM studies and a table of labels to a cohort for training and evaluation. READ `make` FIRST.

A study goes through the pipeline's own stages and the model's own preprocessing, so a network is trained on what it
will be shown. What was left out, and why, is part of the cohort; who the patients are is not.

While it is made, each study that is done leaves its arrays and its outcome in a folder beside the cohort: a command
that was killed goes on where it was. Nothing is kept in memory but one study.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import pipeline
from ..analysis import headers
from ..analysis.inference import ModelInUse, whole_file
from ..errors import DeliveryError, NodeError, SettingsError
from ..findings import ModelCard
from ..settings import Settings
from . import report, study, table
from .folder import Folder
from .pacs import MoveTo, Pacs
from .pseudonyms import Pseudonyms, note_way_back, open_key
from .report import in_short
from .seam import Arrays, CohortMaker, open_maker
from .source import RetrievalIncomplete, Say, Source
from .study import ARRAYS, USABLE, Outcome
from .table import AtHand, Labelled
from .table import read as read_table

__all__ = ["Made", "Source", "in_short", "make", "open_maker", "open_source", "read_table"]

log = logging.getLogger(__name__)

OUTCOME, BEGUN = "outcome.json", "begun"
AMONG_PATIENTS = "SYNTHETIC_AMONG_PATIENTS"


@dataclass(frozen=True, slots=True)
class Made:
    """A cohort that was made, or that came to nothing."""

    folder: Path | None  # None: no exam gave arrays
    linkage: Path
    report: Mapping[str, Any]  # `report.document`


def open_source(
    folder: Path | None, pacs: str | None, settings: Settings, *, per_hour: float, move_to: str | None, say: Say
) -> Source:
    """The folder, else the destination of the configuration of this name.

    `move_to`: "TITLE:PORT" at which a PACS without C-GET reaches us. Raises NodeError for what cannot be.
    """
    if folder is not None:
        return Folder(folder, say)
    receiver = settings.receiver
    title, colon, port = (move_to or f"{receiver.ae_title}:{receiver.port}").rpartition(":")
    if not (title and colon and port.isdigit() and int(port) < 2**16):
        raise SettingsError(f"{move_to!r} is no TITLE:PORT.", remedy="Name them as in --move-to COHORT:11113.")
    place = MoveTo(title, receiver.host, int(port))
    return Pacs(settings.destination(pacs or ""), receiver, per_hour=per_hour, move_to=place)


def make(
    rows: Sequence[table.Row],
    source: Source,
    out: Path,
    settings: Settings,
    maker: CohortMaker,
    *,
    key: Path,
    site: str = "",
    say: Say,
) -> Made:
    """Make the cohort of the studies that rows name; `out` appears whole or not at all.

    `key`: file of the pseudonyms' key, made where it is not there. `site`: of all exams whose row names none.
    """
    out = out.resolve()
    if out.exists() and any(out.iterdir()):
        raise NodeError(f"{out} is not empty.", remedy="Name a new folder with --out: a cohort is never changed.")
    pseudonyms = open_key(key, out)
    matched = table.match(rows, source.at_hand(rows), maker)
    with _work_folder(out) as work:
        shop = _Shop(work, source, settings, maker, pseudonyms)
        cases: list[report.Case] = []
        for number, labelled in enumerate(matched.labelled, 1):
            outcome = shop.outcome(labelled)
            line = _line(labelled, outcome, pseudonyms, site)
            say(f"{number} of {len(matched.labelled)}: {line['case']} {outcome.status} {' '.join(outcome.reasons)}")
            cases.append((line, outcome))
        cases, synthetic = _apart(sorted(cases, key=lambda case: case[0]["case"]))
        linkage = note_way_back(key, [_way_back(one, pseudonyms) for one in matched.labelled])
        said = report.document(
            cases, rows, matched, maker.counted, source=source.kind, synthetic=synthetic, made=_made(maker, settings)
        )
        if not any(outcome.status in USABLE for _, outcome in cases):
            return Made(None, linkage, said)
        _write(work / "cohort", out.name, cases, shop, said)
        (work / "cohort").replace(out)  # over an empty folder, too
        shutil.rmtree(work)
    return Made(out, linkage, said)


def _write(folder: Path, name: str, cases: list[report.Case], shop: _Shop, said: Mapping[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    exams = ((line, shop.arrays(line) if outcome.status in USABLE else None) for line, outcome in cases)
    usable = sum(outcome.status in USABLE for _, outcome in cases)
    shop.maker.write(
        folder,
        exams,
        name=name,
        synthetic=said["synthetic"],
        capacity=usable,
        origin={**said["made"], "source": said["source"]},
    )
    report.write_quality(folder / "quality.csv", cases)
    (folder / "report.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "report.md").write_text(report.markdown(said), encoding="utf-8")


def _apart(cases: list[report.Case]) -> tuple[list[report.Case], bool]:
    """The cases, and whether all are synthetic; phantoms among patients are rejected."""
    usable = [outcome for _, outcome in cases if outcome.status in USABLE]
    if all(outcome.synthetic for outcome in usable) or not any(outcome.synthetic for outcome in usable):
        return cases, bool(usable) and usable[0].synthetic
    rejected = Outcome("rejected", (AMONG_PATIENTS,), synthetic=True)
    told = {"status": rejected.status, "reason": AMONG_PATIENTS, "sequences": ""}
    return [
        ({**line, **told}, rejected) if outcome.synthetic and outcome.status in USABLE else (line, outcome)
        for line, outcome in cases
    ], False


# ------------------------------------------------------------------ one study
class _Shop:
    """The work folder: what became of each study, and the arrays of those that are usable."""

    def __init__(
        self, work: Path, source: Source, settings: Settings, maker: CohortMaker, pseudonyms: Pseudonyms
    ) -> None:
        self._work, self._source, self.maker, self._pseudonyms = work, source, maker, pseudonyms
        self._context = pipeline.Context(settings, ModelInUse(ModelCard.from_json(maker.card), "cpu"))
        self._made = json.dumps(_made(maker, settings), sort_keys=True)

    def outcome(self, labelled: Labelled) -> Outcome:
        """As an earlier run left it, but for what failed; else anew."""
        if labelled.refused:
            return Outcome("rejected", labelled.refused)
        at_hand = labelled.study
        place = self._place(self._pseudonyms.of("study", at_hand.study))
        place.mkdir(parents=True, exist_ok=True)
        made = f"{self._made}\n{at_hand.content}"
        if (place / OUTCOME).exists():
            known = Outcome.from_json((place / OUTCOME).read_text(encoding="utf-8"), made)
            if known is not None and known.status != "failed":
                return known
        outcome = self._anew(at_hand, place)
        with whole_file(place / OUTCOME) as temporary:
            temporary.write_text(outcome.to_json(made), encoding="utf-8")
        return outcome

    def _anew(self, at_hand: AtHand, place: Path) -> Outcome:
        """A study at which this process died time and again has failed, so that the others come to their turn."""
        begun = place / BEGUN
        if begun.exists() and begun.stat().st_size >= self._context.settings.model.max_crashes:
            begun.unlink()
            return Outcome("failed", ("PROCESS_DIED",))
        with begun.open("a") as file:
            file.write("x")
        try:
            return self._through_the_stages(at_hand, place)
        except RetrievalIncomplete as error:
            log.warning("%s", error)
            return Outcome("failed", ("RETRIEVAL_INCOMPLETE",))
        except (DeliveryError, SettingsError):
            raise  # of the PACS or the configuration: it concerns all studies
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NodeError(
                    f"{self._work}: {error.strerror}.", remedy="Make room, then run the command again: it goes on."
                ) from error
            return self._failed(error)
        except Exception as error:
            return self._failed(error)
        finally:
            begun.unlink(missing_ok=True)

    def _through_the_stages(self, at_hand: AtHand, place: Path) -> Outcome:
        scratch = self._work / "study"
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir()
        try:
            with self._source.images(at_hand, scratch) as files:
                studies, unusable = headers.read_files(files)
                found = [one for one in studies if one.study_instance_uid == at_hand.study]
                if not found:
                    return Outcome("rejected", ("PIXELS_UNREADABLE",))
                outcome = study.prepare(found[0], unusable, scratch / "stages", self._context, self.maker)
                if outcome.status in USABLE:
                    (scratch / "stages" / ARRAYS).replace(place / ARRAYS)
                return outcome
        finally:
            shutil.rmtree(scratch)

    def _failed(self, error: Exception) -> Outcome:
        log.exception("a study failed")
        return Outcome("failed", (type(error).__name__,))

    def arrays(self, line: Mapping[str, str]) -> Arrays:
        with np.load(self._place(line["study"]) / ARRAYS, allow_pickle=False) as arrays:
            return dict(arrays)

    def _place(self, pseudonym: str) -> Path:
        return self._work / "prepared" / pseudonym


def _line(labelled: Labelled, outcome: Outcome, pseudonyms: Pseudonyms, site: str) -> dict[str, str]:
    """The columns of a case; the table's word comes before the headers'."""
    name = pseudonyms.of("study", labelled.study.study)
    # Without a patient the study stands for one: it is rejected, and must not be joined with others.
    patient = pseudonyms.of("patient", labelled.patient) if labelled.patient else name
    known = {"site": site, **outcome.facts, **labelled.labels}
    made = {"status": outcome.status, "reason": "; ".join(outcome.reasons), "sequences": "+".join(outcome.sequences)}
    return {**known, "case": name, "study": name, "patient": patient, **made}


def _way_back(labelled: Labelled, pseudonyms: Pseudonyms) -> dict[str, str]:
    at_hand = labelled.study
    return {
        "study": pseudonyms.of("study", at_hand.study),
        "patient": pseudonyms.of("patient", labelled.patient) if labelled.patient else "",
        "study_instance_uid": at_hand.study,
        "accession_number": at_hand.accession,
        "patient_id": labelled.patient,
    }


def _made(maker: CohortMaker, settings: Settings) -> dict[str, Any]:
    """What decides about arrays and status beside the images: a study that was done in another way is done anew."""
    return {
        "software": pipeline.SOFTWARE,
        "model": f"{maker.card['name']} {maker.card['version']}",
        "weights_sha256": maker.card["weights_sha256"],
        "held_against": maker.identity,
        "series_rules_and_words": settings.result_shaping_hash(),
    }


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """Beside the cohort, for its owner alone: while a study is worked at, its headers and pixels are there."""
    work = out.with_name(f".{out.name}.unfinished")
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NodeError(f"{out} is being made at this moment.", remedy="Wait for that command to end.") from error
        yield work
