"""One study to arrays for training: the stages of `pipeline` as an analysis runs them, with the network left out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from .. import pipeline
from ..analysis import advice, exam, exclusions
from ..analysis.inference import HALF_A_TURN, load_volumes, whole_file
from ..findings import SIDES_UNKNOWN, ExamScore, Findings, ModelCard, Problem
from ..study import OWN_PHANTOM, Instance, Study, UnusableFile
from ..volume import Volume
from .seam import CohortMaker

ARRAYS = "arrays.npz"
OLDEST = 90  # stands for all ages above: few people are older, and an age would name them
USABLE = ("used", "withheld")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a study, without anything that names a patient."""

    status: str  # used | withheld | rejected | failed
    reasons: tuple[str, ...] = ()  # codes; of what is withheld with the fact that lies outside the range
    sequences: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)  # columns of a case, as the headers say them
    sex: str = ""
    synthetic: bool = False

    def to_json(self, made: str) -> str:
        return json.dumps({**asdict(self), "made": made}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, made: str) -> Outcome | None:
        """None for an outcome that was made in another way."""
        said = json.loads(text)
        if said.pop("made") != made:
            return None
        return cls(**{**said, "reasons": tuple(said["reasons"]), "sequences": tuple(said["sequences"])})


def prepare(
    study: Study, unusable: Sequence[UnusableFile], work: Path, context: pipeline.Context, maker: CohortMaker
) -> Outcome:
    """Run the stages over the empty folder `work`; the arrays of a usable exam are left there in `ARRAYS`."""
    pipeline.prepare(work, study, problems=_conflicts(study, unusable))
    pipeline.group_series(work, context)
    pipeline.decode_volumes(work, context)
    pipeline.check_quality(work, context)
    prepare_arrays(work, maker)
    pipeline.conclude(work, context)
    return _outcome(study, work, context)


def prepare_arrays(work: Path, maker: CohortMaker) -> None:
    """In the place of `run_model`: the model's preprocessing, or its refusal, as that stage would leave it."""
    if pipeline.refusals(work):
        return
    document: dict[str, Any]
    try:
        arrays, measures = maker.prepare(model_inputs(work))
    except ValueError as refusal:
        code = getattr(refusal, "code", None)
        if code is None:
            raise
        document = {"refused": {"code": code, "message": str(refusal)}}
    else:
        with whole_file(work / ARRAYS) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        document = {"measures": {name: float(value) for name, value in measures.items()}}
    with whole_file(work / "prediction.json") as temporary:
        temporary.write_text(json.dumps(document, sort_keys=True), encoding="utf-8")


def model_inputs(work: Path) -> dict[str, Volume]:
    """The volumes as the compute child shows them to the model: an exam registered backwards is turned round."""
    volumes = load_volumes(work / "volumes.npz")
    noted = json.loads((work / "quality.json").read_text(encoding="utf-8"))["problems"]
    if any(problem["code"] in SIDES_UNKNOWN for problem in noted):
        return {role: replace(volume, affine=HALF_A_TURN @ volume.affine) for role, volume in volumes.items()}
    return volumes


def _conflicts(study: Study, unusable: Sequence[UnusableFile]) -> list[Problem]:
    """As for an analysis: two contents under one UID are a problem of the exam, other unusable files are not."""
    kept = [item for item in unusable if any(i.sop_instance_uid in item.reason for i in study.instances)]
    return [Problem.of("CONFLICTING_DUPLICATE", item.reason) for item in kept[:1]]


# ------------------------------------------------------------------ what became of it
def _outcome(study: Study, work: Path, context: pipeline.Context) -> Outcome:
    findings = pipeline.load_findings(work)
    grouped = json.loads((work / "grouping.json").read_text(encoding="utf-8"))["study"]
    image = exam.first_image(study, grouped)
    known: dict[str, Any] = {
        "measures": dict(findings.measures),
        "facts": _facts(image),
        "sex": str(image.attributes.get("PatientSex") or ""),
        "synthetic": image.attributes.get("Manufacturer") == OWN_PHANTOM,
    }
    if errors := [problem.code for problem in findings.problems if problem.severity == "error"]:
        return Outcome("rejected", tuple(errors), **known)
    with np.load(work / ARRAYS, allow_pickle=False) as arrays:
        sequences = tuple(arrays.files)
    facts = exam.facts(study, grouped, load_volumes(work / "volumes.npz")["dce"])
    reasons = withheld(findings, context, facts, sequences) + _excluded(study, context)
    return Outcome("withheld" if reasons else "used", tuple(reasons), sequences, **known)


def withheld(
    findings: Findings, context: pipeline.Context, facts: Mapping[str, Any], sequences: Sequence[str]
) -> list[str]:
    """Why an analysis would withhold its advice on account of this exam: problems that block it, and what lies
    outside the evaluated range of the card."""
    codes = [problem.code for problem in findings.problems if problem.blocks_advice]
    return codes + [f"OUTSIDE_EVALUATED_RANGE {name}" for name in outside_range(context.model.card, facts, sequences)]


def outside_range(card: ModelCard, facts: Mapping[str, Any], sequences: Sequence[str]) -> list[str]:
    """Facts outside the card's range by the rule of `advice`; a card without any range has nothing outside it."""
    made = {"sequences": list(sequences)}  # all that the rule looks at of a score
    score = ExamScore("", 0.0, None, 0.0, {}, {}, made, None)
    told = [reason.text for reason in advice.outside_evaluated_range(advice.Case(score, (), None, card, facts))]
    return [name for name in card.evaluated_range if any(t.startswith(f"{name.replace('_', ' ')} ") for t in told)]


def _excluded(study: Study, context: pipeline.Context) -> list[str]:
    """What words of requests and descriptions exclude from the use that a card with a range was evaluated for."""
    if not context.model.card.evaluated_range:
        return []
    headers = [
        pydicom.dcmread(instance.path, stop_before_pixels=True, force=True)
        for instance in exclusions.one_of_each_series(study)
    ]
    return [reason.code for reason in exclusions.stated(headers, exclusions.load(context.settings.exclusions))]


def _facts(image: Instance) -> dict[str, str]:
    field_strength, age = image.attributes.get("MagneticFieldStrength"), _age(image.attributes)
    return {
        "vendor": str(image.attributes.get("Manufacturer") or ""),
        "field_strength_t": f"{field_strength:g}" if isinstance(field_strength, int | float) else "",
        "age": "" if age is None else str(min(age, OLDEST)),
    }


def _age(attributes: Mapping[str, Any]) -> int | None:
    """Completed years at the exam, from Patient's Age, else from the date of birth; None where neither tells it."""
    if told := re.fullmatch(r"(\d{3})([YMWD])", str(attributes.get("PatientAge") or "").strip()):
        return int(told[1]) // {"Y": 1, "M": 12, "W": 52, "D": 365}[told[2]]
    born, day = (str(attributes.get(keyword) or "") for keyword in ("PatientBirthDate", "StudyDate"))
    if not all(re.fullmatch(r"\d{8}", date) for date in (born, day)) or born > day:
        return None
    return int(day[:4]) - int(born[:4]) - (day[4:] < born[4:])
