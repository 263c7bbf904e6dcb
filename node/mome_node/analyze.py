"""The pipeline on a folder, without a network: every study below it ends as results and findings, or a reason."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pydicom

from . import pipeline
from .analysis import headers
from .analysis.inference import ComputeChild
from .errors import ComputeError, NodeError
from .findings import Findings, Problem
from .results import pages
from .settings import FurtherObject, Settings, Variant
from .study import Study

log = logging.getLogger(__name__)

Say = Callable[[str], None]

OURS = {"summary.png", "findings.json"} | {f"{name}.dcm" for name in ("report", "overlay", *get_args(FurtherObject))}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one study ended."""

    study_instance_uid: str
    status: str  # analysed | not_analysed | failed
    folder: Path | None  # where report.dcm, overlay.dcm, summary.png and findings.json lie
    reasons: tuple[str, ...]  # codes, where not analysed
    words: str  # what the radiologist would read

    def as_json(self) -> dict[str, Any]:
        return {
            "StudyInstanceUID": self.study_instance_uid,
            "status": self.status,
            "folder": str(self.folder) if self.folder else None,
            "reasons": list(self.reasons),
        }


def analyze_folder(
    path: Path,
    out: Path,
    settings: Settings,
    *,
    category: str | None = None,
    now: str | None = None,
    further: Sequence[FurtherObject] = (),
    say: Say,
) -> list[Outcome]:
    """Analyse every study below `path`; results appear whole in `out`/<StudyInstanceUID>/, replacing older ones.

    `further`: objects to write beside report and overlay. A fault of the node in one study does not keep the others
    from being analysed.
    """
    studies, unusable = headers.read_folder(path)
    for item in unusable:
        say(f"{item.path}: {item.reason}")
    out.mkdir(parents=True, exist_ok=True)
    with ComputeChild(settings.model) as compute:
        variant = Variant(language=settings.results.language, further=tuple(sorted(set(further))))
        context = pipeline.Context(settings, compute.model, compute, (variant,))
        return [_one(study, _noted(study, unusable), out, context, category, now, say) for study in studies]


def _one(
    study: Study,
    noted: list[Problem],
    out: Path,
    context: pipeline.Context,
    category: str | None,
    now: str | None,
    say: Say,
) -> Outcome:
    uid = study.study_instance_uid
    _refuse_foreign(out / uid)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=out) as temporary:
        work = Path(temporary) / "work"
        try:
            pipeline.prepare(work, study, now=now, category=category, problems=noted)
            for stage in pipeline.STAGES:
                say(f"study {uid}: {stage.__name__.replace('_', ' ')}")
                try:
                    stage(work, context)
                except ComputeError as error:
                    pipeline.give_up(work, error)
        except NodeError as error:
            return Outcome(uid, "failed", None, ("COMPUTE_FAILED",), f"Study {uid} could not be analysed: {error}")
        except Exception as error:
            log.exception("study %s", uid)
            words = f"Study {uid} could not be analysed: the node failed ({type(error).__name__}); its log says where."
            return Outcome(uid, "failed", None, ("COMPUTE_FAILED",), words)
        findings = pipeline.load_findings(work)
        words = pipeline.in_words(work, context.settings)
        place = _publish(work, context.variants[0].name, out / uid)
        return Outcome(uid, findings.status, place, _codes(findings), words)


def _refuse_foreign(place: Path) -> None:
    """What this command did not write is not replaced: `--out` may name the folder that the images lie in."""
    if place.exists() and {path.name for path in place.iterdir()} - OURS:
        raise NodeError(f"{place} holds other files.", remedy="Name another folder with --out.")


def _publish(work: Path, variant: str, place: Path) -> Path:
    """Results and findings to their place, whole: the folder is filled aside and then renamed."""
    results = work / "results" / variant
    results.mkdir(exist_ok=True)
    (results / pipeline.RESULT_ID).unlink(missing_ok=True)
    shutil.copy(work / "findings.json", results)
    if (results / "overlay.dcm").exists():
        pages.summary_png(pydicom.dcmread(results / "overlay.dcm"), results / "summary.png")
    if place.exists():
        shutil.rmtree(place)
    results.replace(place)
    return place


def _codes(findings: Findings) -> tuple[str, ...]:
    return tuple(problem.code for problem in findings.reasons)


def _noted(study: Study, unusable: list[Any]) -> list[Problem]:
    """Conflicting duplicates that reading found: the reader of the exam must know that images were left out."""
    mine = [
        item for item in unusable if any(uid in item.reason for uid in (i.sop_instance_uid for i in study.instances))
    ]
    return [Problem.of("CONFLICTING_DUPLICATE", item.reason) for item in mine[:1]]
