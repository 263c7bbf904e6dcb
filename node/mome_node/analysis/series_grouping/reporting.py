"""The whole grouping report: as the document that other programs read, and as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...study import Study, UnusableFile
from .grouping import group
from .rules import SeriesRules, load_rules


def report(
    studies: Iterable[Study], unusable: Iterable[UnusableFile], root: Path, rules: SeriesRules | None = None
) -> dict[str, Any]:
    """All studies below `root`, and the files that belong to none (schema: grouping_report.schema.json)."""
    rules = rules or load_rules()
    return {
        "studies": [group(study, rules) for study in studies],
        "unusable_files": [{"path": _relative(file.path, root), "reason": file.reason} for file in unusable],
    }


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) and path != root else path.name


def describe(document: Mapping[str, Any]) -> str:
    """The report for people: per study its decision, phases, sequences, problems, and every series with its reason."""
    parts = [_describe_study(study) for study in document["studies"]]
    if document.get("unusable_files"):
        files = [f"  {file['path']}: {file['reason']}" for file in document["unusable_files"]]
        parts.append("\n".join(["Files that belong to no study", *files]))
    return "\n\n".join(parts) or "No DICOM files were found."


def _describe_study(study: Mapping[str, Any]) -> str:
    lines = [f"Study {study['StudyInstanceUID']}: {study['decision'].replace('_', ' ')}"]
    lines += [f"  {p['severity']:<7} {p['code']}: {p['message']}" for p in study["problems"]]
    names = {s["SeriesInstanceUID"]: _name(s) for s in study["series"]}
    lines += [line for dce in _listed(study["dce"]) for line in _describe_dynamic(dce)]
    for role in ("dwi", "adc", "t2", "t1"):
        for entry in _listed(study[role]):
            extra = f", b = {entry['b_value']:g} of {_numbers(entry['b_values'])} s/mm2" if role == "dwi" else ""
            extra = ", fat-suppressed" if entry.get("fat_suppressed") else extra
            lines.append(f"  {role.upper():<4} {names[entry['SeriesInstanceUID']]}{extra}")
    lines.append("  series")
    width = max(len(_name(s)) for s in study["series"])
    for series in study["series"]:
        mark = "*" if series["selected"] else " "
        lines.append(f"  {mark} {_name(series):<{width}}  {series['role']:<9}  {series['reason']}")
    return "\n".join(lines)


def _describe_dynamic(dce: Mapping[str, Any]) -> list[str]:
    side = f" ({dce['laterality']})" if dce["laterality"] else ""
    lines = [f"  DCE{side}, phases by {dce['split_key']}"]
    for phase in dce["phases"]:
        when = "time unknown" if phase["t_rel_s"] is None else f"{phase['t_rel_s']:g} s"
        count = sum(len(i["frames"]) if i["frames"] else 1 for i in phase["instances"])
        what = "pre-contrast" if phase["order"] == 0 else "post-contrast"
        lines.append(f"    {phase['order']}  {what:<13}  {when:>12}  {count} images")
    return lines


def _listed(entry: Any) -> Sequence[Mapping[str, Any]]:
    return [] if entry is None else entry if isinstance(entry, list) else [entry]


def _name(series: Mapping[str, Any]) -> str:
    number = "-" if series["SeriesNumber"] is None else series["SeriesNumber"]
    return f"{number} {series['SeriesDescription'] or '(no description)'}"


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
