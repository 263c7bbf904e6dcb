"""What this software knows of an evaluation, in the sentences that the checklists ask for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from . import explained
from .wording import NAMES, figure, sequences, share

Result = Mapping[str, Any]


def facts(result: Result) -> dict[str, str]:
    """Sentences by the name under which the checklists ask; what is not known is not there."""
    about = result["about"]
    card = about["weights"]
    found = {
        "model": f"Deep learning: mixture-of-modality-experts transformer on breast MRI; {card['name']} "
        f"{card['version']}, {card['status']}.",
        "intended_use": f"Of the card: {' '.join(card['limits_of_use'] or [])}",
        "goal": "Evaluation of weights that were there already; nothing was trained or chosen on this cohort.",
        "sources": f"Cohort: {result['cohort']}; {result['flow']['studies']} studies of {result['flow']['patients']} "
        f"patients; {sites(result)}.",
        "exclusions": excluded(result),
        "selection": "This software leaves no exam out but those listed in the flow.",
        "preprocessing": f"Constants with SHA-256 {about['preprocessing']}, equal to those of the training (checked). "
        "docs: paper, Methods; the cohort folder holds them in full.",
        "pseudonyms": "Cases, patients and studies are known to this software by pseudonyms only.",
        "missing": "Exams that lack a sequence are scored from the others, without anything in its place: "
        f"{', '.join(f'{sequences(n)} {c}' for n, c in about['sequences_at_hand'].items())}. Studies without a result "
        "count against the test in a table of their own. Nothing was imputed.",
        "acquisition": acquired(result),
        "reference": f"`malignant` in the table of labels; {result['flow']['without_answer']} exams without it were "
        "not counted.",
        "separation": result["separation"]["words"],
        "size": f"{result['n']} exams, {result['malignant']} malignant.",
        "architecture": "Luo et al. 2025: three tokenizers, blocks with experts of each sequence, blocks with a soft "
        "mixture of experts; sizes in the header of the weights file.",
        "software": f"mome-node {version('mome-node')}; all packages with versions: environment.txt.",
        "training": f"{card['trained_on']}",
        "ensemble": "None: one network, each exam once, without augmentation at test time.",
        "measures": f"{', '.join(NAMES.values())}; decision curves; groups. Threshold "
        f"{result['figures']['threshold']:g}.",
        "statistics": f"Percentile bootstrap over patients, {about['resamples']} resamples, seed {about['seed']}; "
        "paired bootstrap and DeLong between models; exact binomial intervals; many comparisons, uncorrected.",
        "robustness": f"Seven combinations of sequences; {len(result['subgroups'])} groups.",
        "explanation": explanations(result),
        "flow": f"figures/flow.svg; {result['flow']['studies']} studies, {result['flow']['scored']} in the figures.",
        "characteristics": "tables/characteristics.csv.",
        "performance": f"AUROC {figure(result['auroc'])}; tables/figures.csv, tables/subgroups.csv.",
        "diagnostic": "Sensitivity {}, specificity {}; with all studies in the denominators {} and {} (counts: "
        "tables/intention-to-diagnose.csv).".format(
            *(figure(result["figures"][name]) for name in ("sensitivity", "specificity")),
            *(share(result["intention_to_diagnose"]["figures"][name]) for name in ("sensitivity", "specificity")),
        ),
        "failures": "cases.csv holds score and answer of every case, the wrong ones marked.",
        "limits": " ".join(result["not_measured"]),
        "seal": result["seal"]["words"],
        "availability": f"mome-node {version('mome-node')} (Apache-2.0); weights SHA-256 {result['weights_sha256']}.",
        "predictors": "Voxels of DCE, DWI and T2; no clinical data.",
        "updating": "None on this cohort.",
        "calculated": f"Probability of the class malignant by softmax, of {result['calibration']['of']} for "
        "calibration and decision curves.",
        "imbalance": f"{result['malignant']} of {result['n']} malignant, as they came; nothing was weighted.",
        "output": output(result),
        "numbers": f"{result['n']} exams, {result['malignant']} malignant in the figures; those of other analyses "
        "stand in its table.",
        "difference": f"Trained on: {card['trained_on']} This cohort: tables/characteristics.csv.",
    }
    if result["readers"]:
        found["readers"] = f"{len(result['readers'])} readers: {', '.join(r['reader'] for r in result['readers'])}."
    if result["separation"]["known"]:
        counts = result["separation"]["exams"]
        if counts["validation"]:
            found["chosen"] = f"The values kept were chosen on {counts['validation']} exams of validation."
        found["partition"] = ", ".join(f"{count} exams of {kind}" for kind, count in counts.items()) + "; this cohort."
    groups = [group for group in result["subgroups"] if group["by"] == "site"]
    if groups:
        found["sites"] = "; ".join(f"{g['group']}: n = {g['n']}, AUROC {figure(g.get('auroc'))}" for g in groups) + "."
    if result["synthetic"]:
        found = {name: f"SYNTHETIC EXAMS. {text}" for name, text in found.items()}
    return found


def sites(result: Result) -> str:
    there = result["about"]["characteristics"].get("site")
    return f"sites: {', '.join(there)}" if there else "sites not named in the table of labels"


def excluded(result: Result) -> str:
    told = [
        f"{status}: {reason} ({count})"
        for status, reasons in result["flow"]["left"].items()
        for reason, count in reasons.items()
    ]
    return f"Left out by this software: {'; '.join(told)}." if told else "This software left no study out."


def acquired(result: Result) -> str:
    who = result["about"]["characteristics"]
    told = [
        f"{words}: {', '.join(who[name])}"
        for name, words in (("field_strength_t", "field strength (T)"), ("vendor", "vendors"))
        if name in who
    ]
    return "; ".join(told) + "." if told else ""


def explanations(result: Result) -> str:
    told = [
        told(result[name]).words
        for name, told in (("shapley", explained.shapley), ("saliency", explained.saliency))
        if name in result
    ]
    return " ".join(told) if told else "Not measured in this run."


def output(result: Result) -> str:
    points = result["operating_points"]
    if not points:
        return f"A score from 0 to 1 ({result['calibration']['of']}); no operating point."
    told = "; ".join(f"{p['name']}: score ≤ {p['threshold']:g}, frozen on {p['frozen_on']}" for p in points)
    return f"A score from 0 to 1 ({result['calibration']['of']}). Operating points: {told}."
