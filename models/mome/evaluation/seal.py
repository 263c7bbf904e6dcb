"""The order of things: points are sealed before a test cohort is opened, and every opening is written down.

A seal holds a time and a hash over all that was decided until then. It keeps an honest hand from moving a threshold
after the result was seen, and shows a reader the order; whoever forges the clock and the file can forge it, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..cohort import Cohort

VERSION = 1
OPENINGS = "openings.jsonl"


class SealError(ValueError):
    """No valid seal, or an opening that cannot be written down; the message says what to do."""


# ------------------------------------------------------------------ the seal
def seal(
    points: Sequence[Mapping[str, Any]],
    *,
    tensors: str,
    cohort: Cohort,
    calibration: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """The field `seal` of a model card. `tensors`: `weights.tensors_sha256`, the same under any card; `cohort`: the one
    of tuning."""
    said = {
        "version": VERSION,
        "sealed": (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds"),
        "tensors_sha256": tensors,
        "cohort": {"name": cohort.name, "synthetic": cohort.synthetic, "identity": cohort.identity, "n": len(cohort)},
        "decided": digest({"operating_points": list(points), "calibration": calibration}),
    }
    return {**said, "hash": digest(said)}


def check(card: Mapping[str, Any], *, tensors: str, test: Cohort, opened: datetime) -> dict[str, Any]:
    """The card's seal; raises SealError where there is none, where anything that it covers was changed, where it is not
    older than the opening, or where the test cohort is the one of tuning."""
    said = card.get("seal")
    if not isinstance(said, Mapping):
        raise SealError(
            "These weights hold no sealed operating point: `mome freeze` chooses and seals one on a tuning cohort, "
            "before the test cohort is opened."
        )
    try:
        unsealed = {name: value for name, value in said.items() if name != "hash"}
        whole = said["version"] == VERSION and said["hash"] == digest(unsealed)
        sealed, tuning = datetime.fromisoformat(said["sealed"]).astimezone(UTC), str(said["cohort"]["identity"])
        decided, of = said["decided"], said["tensors_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise SealError(f"The seal of these weights cannot be read ({error}). {AGAIN}") from error
    now = digest({"operating_points": list(card.get("operating_points", ())), "calibration": card.get("calibration")})
    if not whole or decided != now:
        raise SealError(f"The operating points, the calibration or the seal itself were changed after sealing. {AGAIN}")
    if of != tensors:
        raise SealError(f"The seal is of other weights: their values were changed after sealing. {AGAIN}")
    if not tuning or tuning == test.identity:
        raise SealError(f"{test.name} is the cohort that the points were chosen on: evaluate on other patients.")
    if sealed >= opened.astimezone(UTC):
        raise SealError(
            f"The points were sealed at {said['sealed']}, not before the evaluation at "
            f"{opened.astimezone(UTC).isoformat(timespec='milliseconds')}: check the clock of this machine."
        )
    return dict(said)


AGAIN = "Choose and seal the points anew with `mome freeze`, and test them on a cohort that was not opened yet."


def digest(said: Any) -> str:
    """SHA-256 of plain data, however its keys are ordered."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


# ------------------------------------------------------------------ openings
@dataclass(frozen=True, slots=True)
class Opening:
    """One look at a test cohort: which, with what, when; `before` counts earlier ones, by whatever weights."""

    cohort: str  # identity
    weights_sha256: str
    tensors_sha256: str
    time: str  # UTC, ISO
    before: int
    before_with_these: int  # of the earlier ones, those with the same tensors
    place: Path

    def json(self) -> dict[str, Any]:
        return {
            "time": self.time,
            "before": self.before,
            "before_with_these_weights": self.before_with_these,
            "record": self.place.name,
            "words": self.words,
        }

    @property
    def words(self) -> str:
        if self.before == 0:
            return "This test cohort was never opened before, as far as the record goes."
        times = "once" if self.before == 1 else f"{self.before} times"
        return f"This test cohort was opened {times} before, {self.before_with_these} of them with these weights."


def open_test(
    cohort: Cohort, *, weights: str, tensors: str, places: Sequence[Path], now: datetime | None = None
) -> Opening:
    """Write down that a test cohort is opened, before its answers are looked at, and tell how often it was before.

    `places`: folders, the cohort's first; the line goes into `openings.jsonl` of the first that can be written to, and
    the records of all are counted. Raises SealError where none can be, or a record is damaged.
    """
    known = [line for place in dict.fromkeys(p.resolve() for p in places) for line in read_openings(place / OPENINGS)]
    earlier = [line for line in known if line.get("cohort") == cohort.identity]
    when = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    line = {"cohort": cohort.identity, "weights_sha256": weights, "tensors_sha256": tensors, "time": when}
    place = append(line, places)
    same = sum(said.get("tensors_sha256") == tensors for said in earlier)
    return Opening(cohort.identity, weights, tensors, when, len(earlier), same, place)


def read_openings(path: Path) -> list[dict[str, Any]]:
    """Every line of a record; none where there is no file."""
    if not path.is_file():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [dict(line) for line in lines]
    except (ValueError, TypeError) as error:
        raise SealError(
            f"{path} is damaged: a line is no record of an opening. Mend it; never begin a new one."
        ) from error


def append(line: Mapping[str, Any], places: Sequence[Path]) -> Path:
    """The record that the line, whole and on the disk, was added to."""
    for place in places:
        try:
            with (place / OPENINGS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return place / OPENINGS
        except OSError:
            continue
    raise SealError(
        f"The opening of this test cohort cannot be written down: none of {', '.join(map(str, places))} can be written "
        "to. Give a folder for the record."
    )
