"""A folder for the authors of a paper: figures, tables, cases, checklists, the environment and the seeds."""

from __future__ import annotations

import json
import platform
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from . import checklists, drawings, plots, report, tables
from .evaluate import Evaluation
from .facts import facts

SYNTHETIC = "SYNTHETIC EXAMS: nothing in this folder says anything about patients.\n\n"
FORMS = {
    "claim-2024": ("CLAIM 2024", checklists.CLAIM),
    "tripod-ai": ("TRIPOD+AI", checklists.TRIPOD),
}


def write(folder: Path, evaluation: Evaluation) -> None:
    """Everything into `folder`, made where it is not there; files of an earlier run are replaced."""
    for name in ("figures", "tables", "checklists"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    result = evaluation.result
    first = SYNTHETIC if result["synthetic"] else ""
    captions = []
    for name, drawing in drawings.every(evaluation).items():
        (folder / "figures" / f"{name}.svg").write_text(plots.svg_file(drawing.figure, name), encoding="utf-8")
        (folder / "figures" / f"{name}.png").write_bytes(drawing.png())
        captions.append(f"- `{name}`: {'Synthetic exams. ' if result['synthetic'] else ''}{drawing.caption}")
    (folder / "figures" / "captions.md").write_text(first + "\n".join(captions) + "\n", encoding="utf-8")
    for name, rows in tables.tables(result).items():
        tables.write(folder / "tables" / f"{name}.csv", rows)
    known = facts(result)
    for name, (title, questions) in FORMS.items():
        lines = checklists.filled(questions, known)
        told = [
            {"item": line.number, "subject": line.subject, "answer": line.answer, "remains": line.remains}
            for line in lines
        ]
        tables.write(folder / "checklists" / f"{name}.csv", told)
        (folder / "checklists" / f"{name}.md").write_text(first + form(title, lines), encoding="utf-8")
    tables.write(folder / "cases.csv", tables.cases(evaluation))
    (folder / "environment.txt").write_text(environment(), encoding="utf-8")
    (folder / "seeds.json").write_text(json.dumps(seeds(result), indent=1) + "\n", encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(report.html(evaluation), encoding="utf-8")


def form(title: str, lines: list[checklists.Line]) -> str:
    """A table for people; what nobody but the authors knows stands in bold."""
    rows = [f"| {line.number} | {line.subject} | {cell(line.answer)} | {bold(cell(line.remains))} |" for line in lines]
    answered = sum(bool(line.answer) for line in lines)
    return "\n".join(
        [
            f"# {title}",
            "",
            f"{answered} of {len(lines)} items have an answer from the software; the words of the items are shortened.",
            "",
            "| item | subject | known to the software | left to the authors |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def bold(text: str) -> str:
    return f"**{text}**" if text else ""


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def environment() -> str:
    """Interpreter, machine, threads, and every installed package with its version, as pip reads them."""
    import torch

    packages = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()}, key=str.lower)
    first = [
        f"# python {platform.python_version()} ({platform.python_implementation()})",
        f"# {platform.system()} {platform.machine()}",
        f"# torch threads {torch.get_num_threads()}, CUDA {torch.version.cuda or 'none'}",
    ]
    return "\n".join([*first, *packages]) + "\n"


def seeds(result: dict[str, Any]) -> dict[str, Any]:
    """What makes the figures again: seeds, resamples and the identities of cohort and weights."""
    about = result["about"]
    return {
        "bootstrap": {"seed": about["seed"], "resamples": about["resamples"]},
        "bands_of_the_curves": {"seed": 0, "resamples": plots.RESAMPLES},
        "cohort": {"identity": about["cohort_identity"], "origin": about["cohort_origin"]},
        "weights_sha256": result["weights_sha256"],
        "preprocessing": about["preprocessing"],
    }
