"""What is said about one study, sentence by sentence: the one source of the words of every result.

Report, pages and console say the same because they all take their lines from here; the sentences themselves stand in
`sr_templates/words.*.toml`. Scores are said on a scale of 0 to 100.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..findings import AdviceValue, ExamScore, Findings, InputUsed
from .sr_template import Vocabulary

Lines = list[str]

MOST_DECIMALS = 4  # findings hold six of a share of 1

CONCLUSIONS: Mapping[AdviceValue, str] = {
    "CANDIDATE": "candidate",
    "NO_SUPPORT": "no_support",
    "WITHHELD": "withheld",
}


def decimals(score: ExamScore) -> int:
    """Decimals of score and threshold on the scale of 0 to 100: one, or more where one hides which is higher."""
    if score.operating_point is None:
        return 1
    found, limit = 100 * score.score, 100 * score.operating_point.threshold
    honest = (d for d in range(1, MOST_DECIMALS) if (round(found, d) <= round(limit, d)) == (found <= limit))
    return next(honest, MOST_DECIMALS)


def out_of_100(share: float, places: int = 1) -> str:
    """A share of 0 to 1 on the scale of the reports."""
    return f"{100 * share:.{places}f}"


def is_below(findings: Findings) -> bool:
    """The score lies at or below its operating point; False where there is none."""
    score = findings.score
    return bool(score and score.operating_point and score.score <= score.operating_point.threshold)


def no_saliency(findings: Findings, vocabulary: Vocabulary) -> str:
    """Why no slice is shown with its saliency."""
    if is_below(findings):
        return vocabulary.say("picture.no_saliency_below")
    return vocabulary.say("picture.no_saliency" if findings.sides_known else "picture.no_saliency_sides_unknown")


# ------------------------------------------------------------------ what kind of object this is
def band(findings: Findings, vocabulary: Vocabulary) -> str:
    return vocabulary.say(f"marking.band_{findings.mode}")


def use(findings: Findings, vocabulary: Vocabulary) -> str:
    """For whom the object is; weights that were not evaluated on patients are research in every mode."""
    mode = findings.mode if findings.model.evaluated_on_patients else "research"
    return vocabulary.say(f"marking.use_{mode}")


def weights(findings: Findings, vocabulary: Vocabulary) -> str:
    model = findings.model
    return vocabulary.say("marking.weights", name=model.name, version=model.version, status=model.status.rstrip("."))


def series_description(kind: str, findings: Findings, vocabulary: Vocabulary) -> str:
    return vocabulary.say(f"series.{kind}_{findings.mode}")


# ------------------------------------------------------------------ what came before
def replaces(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """Which earlier result this one takes the place of, and whether that matters; nothing for a first result.

    Where a destination is shown no advice, nothing is said of how it changed.
    """
    old = findings.replaces
    if old is None:
        return []
    said = [vocabulary.say("replaces.result", id=old.id, date=_moment(old.created))]
    if old.status != "analysed":
        said.append(vocabulary.say("replaces.was_no_result"))
    elif findings.status != "analysed":
        said.append(vocabulary.say("replaces.void"))
    elif findings.advice is not None and old.advice is not None:
        same = old.advice == findings.advice.value
        said.append(vocabulary.say("replaces.advice_same" if same else "replaces.advice_changed"))
    if None not in (old.below, findings.below):
        said.append(vocabulary.say("replaces.band_same" if old.below == findings.below else "replaces.band_changed"))
    return [" ".join(said)]


def withdrawn(findings: Findings, result: str, reason: str, vocabulary: Vocabulary) -> Lines:
    """That the result `result` of these findings no longer holds, and why."""
    return [
        vocabulary.say("withdrawn.result", id=result, date=_moment(findings.created)),
        vocabulary.say(f"withdrawn.{reason.replace('-', '_')}"),
    ]


def _moment(iso: str) -> str:
    """Date and time to the minute, as people write it."""
    return iso[:16].replace("T", " ")


# ------------------------------------------------------------------ conclusion and advice
def conclusion(findings: Findings, vocabulary: Vocabulary) -> str:
    """One sentence: the first thing a reader should know."""
    if findings.status != "analysed":
        reasons = " ".join(reasons_of_refusal(findings, vocabulary))
        return vocabulary.say(f"conclusion.{findings.status}", reasons=reasons)
    if findings.advice is None:
        return vocabulary.say("conclusion.no_advice")
    return vocabulary.say(f"conclusion.{CONCLUSIONS[findings.advice.value]}")


def advice(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """The advice in words. Its reasons come apart from it (`advice_reasons`)."""
    given = findings.advice
    if given is None:
        return [vocabulary.say("advice.no_advice")]
    text = [vocabulary.say(f"advice.{CONCLUSIONS[given.value]}")]
    return [vocabulary.say("marking.demonstration") + ".", *text] if given.marked_demonstration else text


def advice_reasons(findings: Findings) -> Lines:
    return [reason.text for reason in findings.advice.reasons] if findings.advice else []


def exclusions(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """What headers cannot know, and the category that a person gave: it is told where it comes from."""
    lines = [vocabulary.say("advice.exclusions")]
    if findings.known_category is not None:
        lines.append(
            vocabulary.say(
                "advice.known_category", source=findings.category_source or "-", category=findings.known_category
            )
        )
    return lines


def reasons_of_refusal(findings: Findings, vocabulary: Vocabulary) -> Lines:
    return [problem.message for problem in findings.reasons] or [vocabulary.say("refusal.unknown_reason")]


def remedies(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """What would help, once each, in the order of the reasons."""
    found = [vocabulary.remedy(problem.code) for problem in findings.reasons]
    return list(dict.fromkeys(found)) or [vocabulary.remedy("otherwise")]


def limits(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """For whom, with which weights, and what was never evaluated. On every object."""
    lines = [use(findings, vocabulary), weights(findings, vocabulary), *findings.model.limits_of_use]
    if findings.status != "analysed":
        return [vocabulary.say("refusal.not_a_result"), *lines]
    return [*lines, vocabulary.say("limits.no_comparison")]


# ------------------------------------------------------------------ score
def score_heading(findings: Findings, vocabulary: Vocabulary) -> str:
    """What the score is of: of both breasts, or of the one that was imaged."""
    return vocabulary.say("score.heading_one_breast" if is_unilateral(findings) else "score.heading")


def is_unilateral(findings: Findings) -> bool:
    return any(problem.code == "UNILATERAL" for problem in findings.problems)


def score(findings: Findings, vocabulary: Vocabulary) -> str:
    """The score as what it is: a percentage only with a stored calibration."""
    found = findings.score
    if found is None:
        return ""
    if found.calibrated_percent is not None:
        return vocabulary.say("score.calibrated", score=f"{found.calibrated_percent:.1f}")
    return vocabulary.say("score.uncalibrated", score=out_of_100(found.score, decimals(found)))


def operating_point(found: ExamScore, vocabulary: Vocabulary) -> Lines:
    """The threshold and the counts behind it. A count of 0 is told with its exact upper limit, never as a promise."""
    point = found.operating_point
    if point is None:
        return [vocabulary.say("score.no_operating_point")]
    synthetic = vocabulary.say("score.synthetic") + " " if "synthetic" in point.cohort.lower() else ""
    limit = f"{100 * point.upper_limit_95:.1f}"
    lines = [
        vocabulary.say(
            "score.operating_point", threshold=out_of_100(point.threshold, decimals(found)), cohort=point.cohort
        ),
        vocabulary.say(
            "score.counts", below=point.cancers_at_or_below, cancers=point.cancers, synthetic=synthetic, limit=limit
        ),
    ]
    if point.benign:
        others = {"below": point.benign_at_or_below, "others": point.benign}
        lines.append(vocabulary.say("score.counts_others", synthetic=synthetic, **others))
    return lines


def contributions(findings: Findings, vocabulary: Vocabulary) -> list[tuple[str, float]]:
    """(Sequence, points of 100, signed) in the order of the vocabulary; empty where none were computed."""
    if findings.score is None:
        return []
    found = findings.score.contributions
    order = [*[s for s in vocabulary.sequences if s in found], *sorted(set(found) - set(vocabulary.sequences))]
    return [
        (vocabulary.say("contributions.sequence", sequence=vocabulary.sequence(role)), 100 * found[role])
        for role in order
    ]


# ------------------------------------------------------------------ inputs and quality
def input_used(used: InputUsed, vocabulary: Vocabulary) -> str:
    """Which series the model saw, with phase times or b-value."""
    details = [vocabulary.say("inputs.series", description=used.description)] if used.description else []
    if used.phase_seconds:
        seconds = ", ".join(f"{s:.0f}" for s in used.phase_seconds)
        details.append(vocabulary.say("inputs.phases", phases=len(used.phase_seconds), seconds=seconds))
    elif used.phases:
        details.append(vocabulary.say("inputs.phases_without_times", phases=used.phases))
    if used.b_value is not None:
        details.append(vocabulary.say("inputs.b_value", b=f"{used.b_value:.0f}"))
    if used.fat_suppressed is not None:
        details.append(vocabulary.say("inputs.fat_suppressed" if used.fat_suppressed else "inputs.not_fat_suppressed"))
    return vocabulary.say("inputs.used", sequence=vocabulary.sequence(used.role), details=", ".join(details))


def inputs(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """Used, then missing; the series that were not used come apart (`rejected`)."""
    order = {role: n for n, role in enumerate(vocabulary.sequences)}
    used = sorted(findings.used, key=lambda u: (order.get(u.role, len(order)), u.role))
    missing = sorted(findings.missing, key=lambda m: (order.get(m.role, len(order)), m.role))
    return [
        *[input_used(u, vocabulary) for u in used],
        *[vocabulary.say("inputs.missing", sequence=vocabulary.sequence(m.role), reason=m.reason) for m in missing],
    ]


def rejected(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """One line for all series that are alike: a console makes a subtraction and projections of every phase."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for s in findings.rejected:
        number = "-" if s.number is None else str(s.number)
        alike.setdefault((s.description, s.role, s.reason), []).append(number)
    return [
        vocabulary.say("inputs.rejected", number=", ".join(numbers), description=description, role=role, reason=reason)
        for (description, role, reason), numbers in alike.items()
    ]


def quality(findings: Findings, vocabulary: Vocabulary) -> Lines:
    """What the checks found and a reader should know; the errors of a refusal are its reasons and not repeated."""
    shown = [p for p in findings.problems if p.severity != "info" and p not in findings.reasons]
    found = [vocabulary.say("quality.problem", message=p.message) for p in shown]
    if not found and findings.status == "analysed":
        return [vocabulary.say("quality.nothing_found")]
    return found
