"""What this exam is: the sequences used and missing, and its facts as model cards state their evaluated range."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..findings import InputMissing, InputUsed, ModelCard, Problem, SeriesRejected
from ..study import Instance, Study
from ..volume import Volume

AXES = ("sagittal", "coronal", "axial")  # of the slice normal: along x, y, z of the patient (LPS)

NOT_USED = {
    "dwi": ("NO_DWI", "FOR_MISMATCH", "FIELD_OF_VIEW_SMALL", "SEQUENCE_UNREADABLE", "GEOMETRY_IRREGULAR"),
    "t2": ("NO_T2", "FOR_MISMATCH", "FIELD_OF_VIEW_SMALL", "SEQUENCE_UNREADABLE", "GEOMETRY_IRREGULAR"),
}
"""Problems that explain why a sequence is missing, by role."""


def used(study: Study, grouped: Mapping[str, Any], sequences: Sequence[str]) -> tuple[InputUsed, ...]:
    """The sequences that the model saw, as the grouping selected them."""
    return tuple(_input(study, grouped, role) for role in sequences)


def missing(
    card: ModelCard, offered: Collection[str], seen: Collection[str], problems: Sequence[Problem]
) -> tuple[InputMissing, ...]:
    """The sequences that the model can use and did not see, each with its reason; `offered`: given to the model."""
    by_code = {problem.code: problem.message for problem in problems}

    def reason(role: str) -> str:
        if role in offered:
            return "Left out by the model: it does not lie over the breasts, or its geometry or values are unusable."
        return next(
            (by_code[code] for code in NOT_USED.get(role, ()) if code in by_code), "Not found among the series."
        )

    return tuple(InputMissing(role.name, reason(role.name)) for role in card.roles if role.name not in seen)


def rejected(grouped: Mapping[str, Any]) -> tuple[SeriesRejected, ...]:
    """The series that were received and not used, with the grouping's reasons."""
    return tuple(
        SeriesRejected(
            series=series["SeriesInstanceUID"],
            number=series["SeriesNumber"],
            description=series["SeriesDescription"] or "",
            role=series["role"],
            reason=series["reason"],
        )
        for series in grouped["series"]
        if not series["selected"]
    )


def facts(study: Study, grouped: Mapping[str, Any], dce: Volume | None) -> dict[str, Any]:
    """Vendor, field strength, plane, laterality, phases, their duration and the b-value: keys of `evaluated_range`."""
    dynamic, dwi = grouped["dce"], grouped["dwi"]
    image = first_image(study, grouped)
    normal = None if dce is None else dce.affine[:3, 2]
    return {
        "vendor": image.attributes.get("Manufacturer"),
        "field_strength_t": image.attributes.get("MagneticFieldStrength"),
        "plane": None if normal is None else AXES[int(np.argmax(np.abs(normal)))],
        "laterality": dynamic["laterality"] if isinstance(dynamic, Mapping) else None,
        "phases": len(dynamic["phases"]) if isinstance(dynamic, Mapping) else None,
        "last_phase_seconds": dynamic["phases"][-1]["t_rel_s"] if isinstance(dynamic, Mapping) else None,
        "b_value": dwi["b_value"] if isinstance(dwi, Mapping) else None,
    }


def first_image(study: Study, grouped: Mapping[str, Any]) -> Instance:
    """The instance that stands for the study: of the pre-contrast phase, else an MR image, else any."""
    wanted = {i["SOPInstanceUID"] for i in _instances(grouped["dce"], "phases")}
    order = sorted(
        study.instances, key=lambda i: (i.sop_instance_uid not in wanted, i.attributes.get("Modality") != "MR")
    )
    return order[0]


def latest_time(study: Study) -> str | None:
    """ISO 8601 of the latest acquisition, content or series time in the study; None where no date is known."""
    times = [
        time
        for instance in study.instances
        for kind in ("Acquisition", "Content", "Series", "Study")
        if (time := _iso(instance.attributes.get(f"{kind}Date"), instance.attributes.get(f"{kind}Time")))
    ]
    return max(times, default=None)


def _input(study: Study, grouped: Mapping[str, Any], role: str) -> InputUsed:
    selection = grouped[role]
    chosen = {i["SOPInstanceUID"] for i in _instances(selection, "phases")}
    series = tuple(sorted({i.series_instance_uid for i in study.instances if i.sop_instance_uid in chosen}))
    names = {s["SeriesInstanceUID"]: s["SeriesDescription"] for s in grouped["series"]}
    phases = selection.get("phases")
    times = [phase["t_rel_s"] for phase in phases or []]
    return InputUsed(
        role=role,
        series=series,
        description=", ".join(sorted({names.get(uid) or "" for uid in series} - {""})),
        instances=tuple(sorted(chosen)),
        phase_seconds=tuple(map(float, times)) if times and None not in times else None,
        phases=len(phases) if phases else None,
        b_value=selection.get("b_value"),
        fat_suppressed=selection.get("fat_suppressed"),
    )


def _instances(selection: Any, inside: str) -> list[Mapping[str, Any]]:
    """Instance references of a selection of the grouping report, however it is built."""
    if selection is None:
        return []
    if isinstance(selection, list):
        return [reference for part in selection for reference in _instances(part, inside)]
    parts = selection.get(inside, [selection])
    return [reference for part in parts for reference in part["instances"]]


def _iso(date: Any, time: Any) -> str | None:
    """DICOM DA and TM to ISO 8601 to the second; None where the date is not one."""
    date, time = str(date or ""), str(time or "")
    if len(date) != 8 or not date.isdigit():
        return None
    clock = (time.split(".")[0] + "000000")[:6]
    if not clock.isdigit():
        clock = "000000"
    return f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}"
