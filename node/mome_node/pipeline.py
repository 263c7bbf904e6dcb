"""Study in, result objects out: the stages in order. `mome-node analyze` loops over them, jobs.py wraps each as a step.

Every stage is a function over a work folder. It reads the files of earlier stages and leaves its own, whole or not at
all, so each can be killed and run again:

    study.json, input.json   the headers; time, category and problems given               (prepare)
    grouping.json  which series is what; the generation                                  (group_series)
    volumes.npz    DCE phases, DWI, T2 on regular grids                                   (decode_volumes)
    quality.json   do contrast, motion, fat and position look as they must?              (check_quality)
    prediction.json, evidence.npz   what the model says                                  (run_model)
    findings.json, pictures.npz     what the reports may say, and on which voxels        (conclude)
    results/*.dcm  Structured Report and secondary capture                               (write_results)

A stage that finds a problem of severity "error" ends the analysis: the later ones step aside until `conclude`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from . import __version__
from .analysis import advice, exam, exclusions, explanation, headers, known_category, quality, series_grouping, volumes
from .analysis.inference import ComputeChild, ModelInUse, load_volumes, save_volumes, whole_file
from .errors import ComputeError, StudyRefused
from .findings import Advice, ExamScore, Findings, ModelCard, ModelIdentity, Problem, ReplacedResult
from .results import identity, result_set, sr_template, summary, withdrawal
from .results.objects import Predecessor, save
from .results.typeface import load_typeface, refuse_unknown_letters
from .settings import AdviceMode, Settings, Variant
from .study import OWN_PHANTOM, Attributes, Instance, Study
from .volume import Volume

SOFTWARE = f"mome-node {__version__}"
RESULT_ID = "result-id"  # beside the objects of a variant: the eight characters that their pages show
NO_DATE_AT_ALL = "2000-01-01T00:00:00"  # content date of results whose images carry no date and no `now` was given


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What takes back the objects of one result at one destination."""

    kind: Literal["rejection", "withdrawn"]  # a note for archives, a page for people
    reason: str  # as in `results.withdrawal.REASONS`
    name: str  # tells it from others of the same study: the same name gives the same object
    decided: str  # ISO 8601 date and time with its zone: the content date of the object
    language: str  # of the destination


@dataclass(frozen=True, slots=True)
class Context:
    """What the stages share: the site's settings and the model. Only `run_model` needs the compute child itself."""

    settings: Settings
    model: ModelInUse
    compute: ComputeChild | None = None
    variants: tuple[Variant, ...] = (Variant(),)  # of the result objects, as the destinations want them


Stage = Callable[[Path, Context], None]


def prepare(
    work: Path,
    study: Study,
    *,
    now: str | None = None,
    category: str | None = None,
    withdrawals: int = 0,
    problems: Sequence[Problem] = (),
    replaces: Mapping[str, ReplacedResult] | None = None,
    predecessors: Sequence[Predecessor] = (),
) -> None:
    """Make the work folder of one study: its headers and what is to be done.

    `now`: ISO 8601 time of the analysis; None: the latest time found in the images. `category`: BI-RADS category given
    by a person on the command line. `problems`: what reception noted about the study's objects. `replaces`: by variant,
    the earlier result that its destinations have; `predecessors`: the reports of it.
    """
    work.mkdir(parents=True, exist_ok=True)
    with whole_file(work / "study.json") as temporary:
        temporary.write_text(headers.to_json(study), encoding="utf-8")
    document = {
        "now": now,
        "category": category,
        "withdrawals": withdrawals,
        "problems": [asdict(problem) for problem in problems],
        "replaces": {variant: asdict(result) for variant, result in (replaces or {}).items()},
        "predecessors": [asdict(report) for report in predecessors],
    }
    _write_json(work / "input.json", document)


# ------------------------------------------------------------------ the stages
def group_series(work: Path, context: Context) -> None:
    """Grouping by role, and the generation: the hash of the MR images that the model could select."""
    study = _study(work)
    grouped = series_grouping.group(study, series_grouping.load_rules(context.settings.series_rules_file))
    selectable = volumes.model_instances(study, grouped)
    document = {
        "study": grouped,
        "instances": selectable,
        "generation": hashlib.sha256("\n".join(selectable).encode()).hexdigest()[:32],
    }
    _write_json(work / "grouping.json", document)


def decode_volumes(work: Path, context: Context) -> None:
    """Pixels of the selected series as volumes with a strict geometry."""
    if refusals(work):
        return
    study, grouped = _study(work), _read_json(work / "grouping.json")["study"]
    try:
        built, problems = volumes.build(study, grouped)
    except StudyRefused as refusal:
        # A refusal ends the analysis, whatever its code weighs where it is only remarked upon.
        built, problems = {}, [Problem(refusal.code, "error", str(refusal), refusal.series)]
    save_volumes(work / "volumes.npz", built)
    _write_json(work / "volumes.json", {"problems": [asdict(problem) for problem in problems]})


def check_quality(work: Path, context: Context) -> None:
    """No score without proof that contrast arrived; what else the pixels show against the model's range."""
    if refusals(work):
        return
    measures = quality.measure(load_volumes(work / "volumes.npz")["dce"])
    problems = quality.problems(measures, context.model.card.quality_limits)
    _write_json(work / "quality.json", {"measures": measures, "problems": [asdict(p) for p in problems]})


def run_model(work: Path, context: Context) -> None:
    """The model, in the compute child. Raises ComputeError when the child fails; then the stage may be run again."""
    if refusals(work):
        return
    assert context.compute is not None, "run_model runs where the compute child is"
    if context.compute.model != context.model:
        raise ComputeError(
            "The weights changed while this study waited.", remedy="`mome-node jobs retry` runs it again."
        )
    context.compute.predict(work)


def give_up(work: Path, error: ComputeError) -> None:
    """What stands instead of a prediction when the model cannot be run: the study ends as failed, visibly."""
    _write_json(work / "prediction.json", {"failed": {"code": "COMPUTE_FAILED", "message": str(error)}})


def conclude(work: Path, context: Context) -> None:
    """Findings: score, advice, explanation, what was used and what was missing."""
    card, study, given = context.model.card, _study(work), _read_json(work / "input.json")
    grouping, prediction = _read_json(work / "grouping.json"), _read_json(work / "prediction.json", {})
    grouped, measured = grouping["study"], prediction.get("measures", {})
    problems = [*_problems(work), *quality.problems(measured, card.quality_limits)]
    image = _header(exam.first_image(study, grouped))
    category, category_source = _known_category(given["category"], study, image)
    score = _score(card, prediction) if "score" in prediction else None
    offered: dict[str, Volume] = {}
    dce: Volume | None = None
    given_advice: Advice | None = None
    pictures: dict[str, Any] = {}
    if score is not None:
        offered = load_volumes(work / "volumes.npz")
        dce = offered["dce"]
        with np.load(work / "evidence.npz", allow_pickle=False) as evidence:
            pictures = explanation.map_evidence(evidence, dce)
        headers_of_all = [_header(instance) for instance in exclusions.one_of_each_series(study)]
        given_advice = advice.advise(
            advice.Case(
                score=score,
                problems=problems,
                category=category,
                card=card,
                exam=exam.facts(study, grouped, dce),
                exclusions=exclusions.stated(headers_of_all, exclusions.load(context.settings.exclusions)),
                synthetic_demonstration=context.settings.results.demonstrate_advice
                and image.get("Manufacturer") == OWN_PHANTOM,
            )
        )
    sequences = prediction["made"]["sequences"] if score else ()
    document = Findings(
        study_instance_uid=study.study_instance_uid,
        generation=grouping["generation"],
        status="analysed" if score else "failed" if "failed" in prediction else "not_analysed",
        problems=tuple(problems),
        score=score,
        advice=given_advice,
        known_category=category,
        category_source=category_source,
        used=exam.used(study, grouped, sequences),
        missing=exam.missing(card, offered, sequences, problems) if score else (),
        rejected=exam.rejected(grouped),
        salient=None,
        completeness_gap=prediction.get("completeness_gap"),
        measures=_read_json(work / "quality.json", {"measures": {}})["measures"] | measured,
        model=_identity(card, context.model.device),
        software=SOFTWARE,
        mode=context.settings.mode,
        created=given["now"] or exam.latest_time(study) or NO_DATE_AT_ALL,
        further_scores=tuple(_score(card, other) for other in prediction.get("further", ())),
    )
    if dce is not None and document.sides_known:
        document = replace(document, salient=explanation.most_salient(pictures["saliency"], dce))
    with whole_file(work / "pictures.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **pictures)
    with whole_file(work / "findings.json") as temporary:
        temporary.write_text(document.to_json(), encoding="utf-8")


def write_results(work: Path, context: Context) -> None:
    """Report, overlay and further objects, once for each variant that a destination needs.

    None for a study of mixed patients: it has no one identity to file a report under.
    """
    document = load_findings(work)
    folder = work / "results"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if any(problem.code == "MIXED_PATIENTS" for problem in document.reasons):
        return
    study, grouping = _study(work), _read_json(work / "grouping.json")
    inputs = grouping["instances"] or [i.sop_instance_uid for i in study.instances]
    case = _case(work, document, study, exam.first_image(study, grouping["study"]))
    typeface = load_typeface(context.settings.results.font)
    for variant in context.variants:
        mine = tuple(report for report in case.predecessors if report.variant == variant.name)
        told = advice.shown(document, variant.advice)
        if earlier := _read_json(work / "input.json")["replaces"].get(variant.name):
            told = replace(told, replaces=ReplacedResult(**earlier))
        shown = replace(case, findings=told, predecessors=mine)
        names = identity.derive_identity(
            shown.findings,
            inputs,
            context.settings.result_shaping_hash(),
            variant=variant.name,
            withdrawals=_read_json(work / "input.json")["withdrawals"],
        )
        vocabulary = sr_template.load_vocabulary(variant.language, context.settings.template_folders)
        place = folder / variant.name
        place.mkdir()
        for name, result in result_set.build(shown, names, vocabulary, variant, typeface).items():
            with whole_file(place / f"{name}.dcm") as temporary:
                save(result, temporary)
        (place / RESULT_ID).write_text(names.worded(vocabulary.sha256).short, encoding="ascii")


def _case(work: Path, document: Findings, study: Study, image: Instance) -> result_set.Case:
    """What the result objects of a study are made of; `image`: the one whose patient and study they carry."""
    inputs = {uid for use in document.used for uid in use.instances}
    cited = [i for i in study.instances if i.sop_instance_uid in inputs] or [image]
    with np.load(work / "pictures.npz", allow_pickle=False) as arrays:
        saliency, mask = arrays.get("saliency"), arrays.get("mask")
    return result_set.Case(
        findings=document,
        source=_header(image),
        evidence=[_header(instance) for instance in cited],
        dce=load_volumes(work / "volumes.npz")["dce"] if document.score else None,
        saliency=saliency,
        mask=mask,
        predecessors=tuple(Predecessor(**report) for report in _read_json(work / "input.json")["predecessors"]),
    )


def write_withdrawal(wanted: Withdrawal, objects: Sequence[Path], settings: Settings) -> Path:
    """The note or page that takes back result `objects` (files that a destination was given); where it was written."""
    variant = next((folder for folder in objects[0].parents if (folder / RESULT_ID).exists()), objects[0].parent)
    document = load_findings(variant.parents[1])
    vocabulary = sr_template.load_vocabulary(wanted.language, settings.template_folders)
    rejected = [pydicom.dcmread(path, stop_before_pixels=True) for path in objects]
    uids = [str(one.SOPInstanceUID) for one in rejected]
    made = (wanted.reason, identity.of_withdrawal(document.model.weights_sha256, uids, wanted.name), vocabulary)
    if wanted.kind == "rejection":
        ds = withdrawal.note(document, rejected, *made, wanted.decided)
    else:
        result = (variant / RESULT_ID).read_text(encoding="ascii") if (variant / RESULT_ID).exists() else "-"
        typeface = load_typeface(settings.results.font)
        ds = withdrawal.page(document, rejected[0], result, *made, wanted.decided, typeface)
    place = variant.parents[1] / "withdrawals" / f"{wanted.name}-{wanted.kind}.dcm"
    place.parent.mkdir(exist_ok=True)
    with whole_file(place) as temporary:
        save(ds, temporary)
    return place


STAGES: tuple[Stage, ...] = (group_series, decode_volumes, check_quality, run_model, conclude, write_results)


# ------------------------------------------------------------------ what the work folder says
def result_identity(context: Context, withdrawals: int) -> str:
    """Hash of all that shapes a result beside the images: the same images under another identity are another result."""
    card = context.model.card
    shaping = [card.weights_sha256, SOFTWARE, identity.RESULT_SCHEMA, context.model.device, withdrawals]
    text = "\n".join([*map(str, shaping), context.settings.result_shaping_hash()])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def check_site_files(settings: Settings) -> str:
    """What the site's own words, templates and font come to, in words. Raises SettingsError for one that is broken.

    To be asked when the node starts: a slip is found then, and not when a report is due.
    """
    series_grouping.load_rules(settings.series_rules_file)
    exclusions.load(settings.exclusions)
    typeface, languages = load_typeface(settings.results.font), sorted({one.language for one in settings.variants})
    for language in languages:
        vocabulary = sr_template.load_vocabulary(language, settings.template_folders)
        refuse_unknown_letters([*vocabulary.words.values(), *vocabulary.help.values()], typeface)
    return f"series rules, exclusions and reports in {', '.join(languages)} can be used"


def clinical_problem(settings: Settings, card: ModelCard) -> str | None:
    """Why these weights must not run in clinical mode; None where they may."""
    if settings.mode == "clinical" and not card.evaluated_on_patients:
        return f'mode is "clinical", but the weights were not evaluated on patients ({card.status}).'
    return None


def generation(work: Path) -> str:
    return str(_read_json(work / "grouping.json")["generation"])


def refusals(work: Path) -> list[Problem]:
    """Problems of severity "error" that the stages so far have found: why the study is not analysed."""
    return [problem for problem in _problems(work) if problem.severity == "error"]


def load_findings(work: Path) -> Findings:
    return Findings.from_json((work / "findings.json").read_text(encoding="utf-8"))


def acquired_by(work: Path) -> tuple[Attributes, str]:
    """The header of the image that stands for the study, and the serial number of its scanner, else its station name.

    Of the serial number only a keyed hash may be kept.
    """
    image = exam.first_image(_study(work), _read_json(work / "grouping.json")["study"])
    header = _header(image)
    return image.attributes, str(header.get("DeviceSerialNumber") or header.get("StationName") or "").strip()


def in_short(path: Path) -> ReplacedResult | None:
    """The result that the object at `path` is of, as its successor names it; None where its work folder is gone."""
    variant = next((folder for folder in path.parents if (folder / RESULT_ID).exists()), None)
    if variant is None:
        return None
    mode = cast(AdviceMode, variant.name.partition("-")[0])  # what its readers saw
    found = advice.shown(load_findings(variant.parents[1]), mode)
    advised = found.advice.value if found.advice else None
    result = (variant / RESULT_ID).read_text(encoding="ascii")
    return ReplacedResult(result, found.created, found.status, advised, found.below)


def in_words(work: Path, settings: Settings) -> str:
    """What the radiologist would read, as plain text."""
    vocabulary = sr_template.load_vocabulary(settings.results.language, settings.template_folders)
    return summary.for_people(load_findings(work), vocabulary)


def _problems(work: Path) -> list[Problem]:
    """Every problem noted so far: by reception, grouping, volumes, quality and model; each code once, the gravest."""
    prediction = _read_json(work / "prediction.json", {})
    grouped = _read_json(work / "grouping.json", {"study": {"problems": []}})["study"]["problems"]
    noted = [
        *_read_json(work / "input.json")["problems"],
        *[{**p, "series": tuple(p["series"])} for p in grouped],
        *_read_json(work / "volumes.json", {"problems": []})["problems"],
        *_read_json(work / "quality.json", {"problems": []})["problems"],
    ]
    found = [Problem(**{**raw, "series": tuple(raw["series"])}) for raw in noted]
    for end in ("refused", "failed"):
        if end in prediction:
            found.append(Problem(prediction[end]["code"], "error", prediction[end]["message"]))  # it ends the analysis
    kept: dict[str, Problem] = {}
    for problem in found:
        if problem.code not in kept or problem.severity == "error":
            kept[problem.code] = problem
    return list(kept.values())


def _known_category(given: str | None, study: Study, image: Dataset) -> tuple[str | None, str | None]:
    """The BI-RADS category and where it comes from; a person's word at the command line comes first."""
    if given is not None:
        return given, known_category.COMMAND_LINE
    reports = [i.path for i in study.instances if i.attributes.get("Modality") == "SR"]
    if (category := known_category.from_report(reports)) is not None:
        return category, known_category.REPORT
    category = known_category.from_request(image)
    return category, known_category.REQUEST if category else None


def _score(card: ModelCard, prediction: Mapping[str, Any]) -> ExamScore:
    made = prediction["made"]
    return ExamScore(
        target=prediction["target"],
        score=prediction["score"],
        calibrated_percent=None,  # no card of today holds a calibration; see ModelCard.calibration
        baseline=prediction["baseline"],
        contributions=prediction["contributions"],
        coalitions=prediction["coalitions"],
        made=made,
        operating_point=advice.operating_point(card, prediction["target"], made),
    )


def _identity(card: ModelCard, device: str) -> ModelIdentity:
    shared = {field.name: getattr(card, field.name) for field in fields(ModelIdentity) if field.name != "device"}
    return ModelIdentity(**shared, device=device)


def _header(instance: Instance) -> Dataset:
    """The full header, without pixels, as the result objects copy from it."""
    return pydicom.dcmread(instance.path, stop_before_pixels=True, force=True)  # also without a preamble


def _study(work: Path) -> Study:
    return headers.from_json((work / "study.json").read_text(encoding="utf-8"))


def _read_json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.exists():
        return default
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, document: Any) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")
