"""When an image was acquired: dates and times of DICOM to seconds. Nothing here estimates a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from itertools import pairwise

from .images import Image

DAY_S = 86_400.0
DISTINCT_S = 0.2  # phases nearer to each other in time than this have the same time: ultrafast ones are seconds apart


@lru_cache(maxsize=8192)
def time_of_day(text: str) -> float | None:
    """Seconds from midnight of a TM (PS3.5 6.2): HHMMSS.FFFFFF, later parts may be missing, old ones have colons."""
    match = re.match(r"(\d{2}):?(\d{2})?:?(\d{2}(?:\.\d*)?)?", text.strip())
    if not match:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds if hours < 24 and minutes < 60 and seconds < 61 else None


@lru_cache(maxsize=8192)
def date_time(text: str) -> float | None:
    """Seconds on a scale with dates of a DT: YYYYMMDDHHMMSS.FFFFFF; an offset from UTC is the same for all images."""
    seconds = time_of_day(text[8:]) if len(text) > 8 else None
    day = _day(text[:8])
    return None if seconds is None or day is None else day * DAY_S + seconds


def acquired(image: Image) -> float | None:
    """Start of the acquisition of an image, s: on a scale with dates where the date is known, else from midnight."""
    exact = date_time(image.text("FrameAcquisitionDateTime"))
    if exact is not None:
        return exact
    time = time_of_day(image.text("AcquisitionTime"))
    if time is None:
        return date_time(image.text("AcquisitionDateTime"))
    day = _day(image.text("AcquisitionDate"))
    return time if day is None else day * DAY_S + time


def started(images: Sequence[Image]) -> float | None:
    """Start of the earliest image; None where one has no time."""
    times = [acquired(image) for image in images]
    known = [time for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None


def triggered(images: Sequence[Image]) -> float | None:
    """TriggerTime of the earliest image, s: in a dynamic series it counts from the start of the series."""
    times = [image.number("TriggerTime") for image in images]
    known = [time / 1000 for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None


def injected(image: Image) -> float | None:
    """ContrastBolusStartTime, s from midnight."""
    return time_of_day(image.text("ContrastBolusStartTime"))


def on_one_scale(times: Sequence[float | None]) -> list[float] | None:
    """Times of one exam made comparable: dates dropped where not all have one, and an exam may cross midnight."""
    if not times or any(time is None for time in times):
        return None
    known = [time for time in times if time is not None]
    if any(time < DAY_S for time in known):
        known = [time % DAY_S for time in known]
        if max(known) - min(known) > DAY_S / 2:
            known = [time + DAY_S if time < DAY_S / 2 else time for time in known]
    return known


def are_distinct(times: Sequence[float]) -> bool:
    ordered = sorted(times)
    return all(later - earlier >= DISTINCT_S for earlier, later in pairwise(ordered))


def _day(text: str) -> int | None:
    digits = text.replace(".", "")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).toordinal()
    except ValueError:
        return None
