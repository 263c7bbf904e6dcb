"""The waist: what a model declares, what an analysis found. Left of it nobody knows SR, right of it nobody torch.

A `Findings` document is immutable and goes to `findings.json` (schema: findings.schema.json beside this file); arrays
that pictures are made of go beside it to `evidence.npz`. The four small types of the seam are `Role`, `Target`,
`Finding` and `Model`: a model package satisfies them by shape and imports nothing of the node.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal, Protocol, runtime_checkable

from .volume import FloatArray, Volume

Severity = Literal["error", "warning", "info"]
Status = Literal["analysed", "not_analysed", "failed"]
AdviceValue = Literal["CANDIDATE", "NO_SUPPORT", "WITHHELD"]

PROBLEM_CODES: Mapping[str, Mapping[str, Any]] = json.loads(
    files(__package__).joinpath("problem_codes.json").read_text(encoding="utf-8")
)
"""Code -> severity, blocks_advice, meaning. Codes with stage "pixels" come after the grouping; a refusal for a code
with audience "operations" is told to who runs the node, any other to the reader of the exam."""

NOT_FOR_READERS = frozenset(code for code, about in PROBLEM_CODES.items() if about.get("audience") == "operations")
"""Refusals that concern operations only (routing, identity): no object goes where radiologists read."""

SIDES_UNKNOWN = frozenset({"PATIENT_POSITION_CONTRADICTS_ANATOMY"})
"""Problems after which no result names a side or a place: the exam says that left is where right may be."""


# ------------------------------------------------------------------ the seam for models
@dataclass(frozen=True, slots=True)
class Role:
    """One input that a model declares."""

    name: str  # "dce", "dwi", "t2", ...: the key under which `predict` receives it
    kind: str  # "mr-dynamic" | "mr-volume"
    select: str  # which selection of the grouping report fills it: "dce", "dwi", "t2", ...
    required: bool


@dataclass(frozen=True, slots=True)
class Target:
    """One output that a model declares."""

    name: str  # "malignancy"
    code: tuple[str, str, str]  # value, scheme, meaning
    scope: Literal["patient", "side", "region"]
    positive_label: str  # what a high score stands for


@runtime_checkable
class Finding(Protocol):
    """One output of one exam, as the model returns it (plain attributes, arrays of numpy)."""

    target: str
    score: float  # 0 to 1; a probability only where the card holds a calibration
    made: Mapping[str, Any]  # sequences, augmentation, numeric_type, preprocessing: how the score was made
    baseline: float  # the score with no sequence at all
    contributions: Mapping[str, float]  # Shapley value of each sequence, signed; baseline + their sum = score
    coalitions: Mapping[str, float]  # "dce", "dce+dwi", ... -> score
    completeness_gap: float | None  # |sum of attributions - difference| / |difference| of the integrated gradients
    measures: Mapping[str, float]  # quality measures that only the model can take, e.g. of its mask
    evidence: Mapping[str, tuple[FloatArray, FloatArray]]  # name -> array (W, H, D), affine (4, 4) to mm, LPS


@runtime_checkable
class Model(Protocol):
    """What an entry point of the group `mome_node.models` returns when called with a weights file."""

    card: Mapping[str, Any]

    def predict(self, inputs: Mapping[str, Volume]) -> Sequence[Finding]:
        """The finding that results and advice are about, then those of further targets.

        Deterministic; no network, no clock, no files. May raise an exception with attributes `code` and `remedy`.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The card of a model as the node reads it. Plain data: it crosses from the compute child as JSON."""

    name: str
    version: str
    weights_sha256: str
    status: (
        str  # said on every object, e.g. "demonstration weights, trained on synthetic phantoms, not for clinical use"
    )
    trained_on: str
    evaluated_on_patients: bool
    roles: tuple[Role, ...]
    targets: tuple[Target, ...]
    preprocessing: Mapping[str, Any]
    operating_points: tuple[Mapping[str, Any], ...]
    evaluated_range: Mapping[str, Any]
    quality_limits: Mapping[str, Any]
    calibration: Mapping[str, Any] | None = None
    limits_of_use: tuple[str, ...] = ()
    distributions: Mapping[str, Any] = field(default_factory=dict)  # of scores and measures: for the drift watch only

    @classmethod
    def from_json(cls, card: Mapping[str, Any]) -> ModelCard:
        """Raises KeyError or TypeError where the card lacks what the node needs."""
        names = {f.name for f in dataclasses.fields(cls)}
        known = {key: value for key, value in card.items() if key in names}
        known["roles"] = tuple(Role(**role) for role in card["roles"])
        known["targets"] = tuple(Target(**{**t, "code": tuple(t["code"])}) for t in card["targets"])
        known["operating_points"] = tuple(card["operating_points"])
        known["limits_of_use"] = tuple(card.get("limits_of_use", ()))
        return cls(**known)


# ------------------------------------------------------------------ what an analysis found
@dataclass(frozen=True, slots=True)
class Problem:
    """Something a reader or the sender should know, with a code of `PROBLEM_CODES`."""

    code: str
    severity: Severity
    message: str  # one sentence: what was found, what to do
    series: tuple[str, ...] = ()  # SeriesInstanceUIDs

    @classmethod
    def of(cls, code: str, message: str, series: Sequence[str] = ()) -> Problem:
        """A problem whose severity is the one listed for its code."""
        return cls(code, PROBLEM_CODES[code]["severity"], message, tuple(series))

    @property
    def blocks_advice(self) -> bool:
        return bool(PROBLEM_CODES.get(self.code, {"blocks_advice": True})["blocks_advice"])


@dataclass(frozen=True, slots=True)
class InputUsed:
    """A sequence that the model saw."""

    role: str  # "dce" | "dwi" | "t2"
    series: tuple[str, ...]  # SeriesInstanceUIDs
    description: str  # SeriesDescription(s), for people
    instances: tuple[str, ...]  # SOP Instance UIDs, sorted
    phase_seconds: tuple[float, ...] | None = None  # DCE: from the start of the pre-contrast phase
    phases: int | None = None  # DCE: number of phases, pre-contrast included
    b_value: float | None = None  # DWI: s/mm2
    fat_suppressed: bool | None = None  # T2


@dataclass(frozen=True, slots=True)
class InputMissing:
    """A sequence that the model can use and did not get."""

    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesRejected:
    """A series that was received and not used, and why (the grouping's reason)."""

    series: str
    number: int | None
    description: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold frozen on a cohort, for exactly one way of making the score."""

    name: str
    threshold: float  # score at or below which the exam is a candidate for downgrade
    cohort: str  # the set it was frozen on, in words; contains "synthetic" where it was
    cancers: int
    cancers_at_or_below: int
    upper_limit_95: float  # exact binomial upper limit of the share of cancers at or below
    benign: int
    benign_at_or_below: int


@dataclass(frozen=True, slots=True)
class ExamScore:
    """The whole-exam score of one target. Never of a side, a region or a slice."""

    target: str
    score: float  # 0 to 1
    calibrated_percent: float | None  # only with a stored calibration
    baseline: float
    contributions: Mapping[str, float]  # Shapley: baseline + sum = score
    coalitions: Mapping[str, float]
    made: Mapping[str, Any]
    operating_point: OperatingPoint | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why advice was given or withheld."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice about the whole exam to the radiologist; never a BI-RADS category."""

    value: AdviceValue
    reasons: tuple[Reason, ...]
    marked_demonstration: bool = False  # given although the weights are demonstration weights: synthetic patients only


@dataclass(frozen=True, slots=True)
class SalientPlace:
    """Where the saliency is highest: for drawing, never a statement about a lesion."""

    point: tuple[float, float, float]  # mm, LPS
    slice_index: int  # along k of the DCE volume, from 0
    share: float  # of the positive saliency within 10 mm of the point, 0 to 1


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    name: str
    version: str
    weights_sha256: str
    status: str
    trained_on: str
    evaluated_on_patients: bool
    limits_of_use: tuple[str, ...]
    device: str  # "cpu" | "cuda": numerics differ


@dataclass(frozen=True, slots=True)
class ReplacedResult:
    """The earlier result of the same study that this one takes the place of, in short."""

    id: str  # eight characters, as printed on its pages
    created: str  # ISO 8601, as `Findings.created`
    status: Status
    advice: AdviceValue | None  # before a destination's advice mode hides it
    below: bool | None  # its score lay at or below its operating point; None where there was no score or no point


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the reports, the pictures and the operations page may say about one study."""

    study_instance_uid: str
    generation: str  # hash of the MR images that the model selects or could select
    status: Status
    problems: tuple[Problem, ...]  # of every severity; those of severity "error" are the reasons of a refusal
    score: ExamScore | None
    advice: Advice | None
    known_category: str | None  # BI-RADS category that a person gave: "4", "4A", ...; where from: `category_source`
    category_source: str | None
    used: tuple[InputUsed, ...]
    missing: tuple[InputMissing, ...]
    rejected: tuple[SeriesRejected, ...]
    salient: SalientPlace | None
    completeness_gap: float | None
    measures: Mapping[str, float]  # quality measures, with those of the model
    model: ModelIdentity
    software: str  # name and version of the node
    mode: Literal["research", "clinical"]
    created: str  # ISO 8601 local date and time of the analysis, as in ContentDate and ContentTime
    further_scores: tuple[ExamScore, ...] = ()  # of other targets of the weights: for research destinations only
    replaces: ReplacedResult | None = None
    schema_version: int = field(default=1)

    @property
    def reasons(self) -> tuple[Problem, ...]:
        """The coded reasons of a study that was not analysed."""
        return tuple(p for p in self.problems if p.severity == "error") if self.status != "analysed" else ()

    @property
    def for_readers(self) -> bool:
        """False for a refusal that concerns operations only."""
        return not any(p.code in NOT_FOR_READERS for p in self.reasons)

    @property
    def below(self) -> bool | None:
        """The score lies at or below its operating point; None where there is no score or no point."""
        if self.score is None or self.score.operating_point is None:
            return None
        return self.score.score <= self.score.operating_point.threshold

    @property
    def sides_known(self) -> bool:
        """False where left and right of the patient cannot be trusted: nothing may name a side or a place then."""
        return not any(p.code in SIDES_UNKNOWN for p in self.problems)

    def to_json(self) -> str:
        """The document, keys sorted, numbers rounded to 6 decimals: the same findings give the same bytes."""
        return json.dumps(rounded(dataclasses.asdict(self)), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """Inverse of `to_json`. Raises KeyError or TypeError for another document."""
        raw = json.loads(text)
        score, advice, salient = raw["score"], raw["advice"], raw["salient"]
        if advice is not None:
            advice = Advice(**{**advice, "reasons": tuple(Reason(**r) for r in advice["reasons"])})
        if salient is not None:
            salient = SalientPlace(**{**salient, "point": tuple(salient["point"])})
        return cls(
            **{
                **raw,
                "score": _score(score) if score is not None else None,
                "further_scores": tuple(map(_score, raw["further_scores"])),
                "advice": advice,
                "salient": salient,
                "replaces": ReplacedResult(**raw["replaces"]) if raw.get("replaces") else None,
                "problems": tuple(Problem(**tupled(p)) for p in raw["problems"]),
                "used": tuple(InputUsed(**tupled(u)) for u in raw["used"]),
                "missing": tuple(InputMissing(**m) for m in raw["missing"]),
                "rejected": tuple(SeriesRejected(**r) for r in raw["rejected"]),
                "model": ModelIdentity(**tupled(raw["model"])),
            }
        )


def _score(record: Mapping[str, Any]) -> ExamScore:
    point = record["operating_point"]
    return ExamScore(**{**record, "operating_point": OperatingPoint(**point) if point else None})


def rounded(value: Any) -> Any:
    """Floats to 6 decimals throughout a JSON-like value."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def tupled(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON lists back to the tuples of the frozen records."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
