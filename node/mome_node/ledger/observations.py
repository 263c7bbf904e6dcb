"""The ledger's part on the drift watch: one row for the current result of each study, and nothing of the patient.

The row goes with its study: `study_instance_uid` is its key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, insert, select, update

from .database import Database
from .records import Observation, Outcome, Scanner, State
from .schema import analyses, deliveries, observations, studies


class Observations(Database):
    """Scores, measures and refusals by scanner."""

    def device_key(self, serial: str) -> str:
        """Eight characters that tell scanners of this ledger apart; a plain hash of a serial number could be guessed.

        Empty for an empty serial number.
        """
        secret = bytes.fromhex(self._patient_secret)
        return hmac.new(secret, b"device\n" + serial.encode(), hashlib.sha256).hexdigest()[:8] if serial else ""

    def record_observation(self, observation: Observation) -> None:
        """Keep what the current result of a study shows; the row of an earlier result is replaced. Idempotent.

        The time is that of the study's first object, whatever `observation` says. A computation that failed says
        nothing about the images: it takes the place of no other row.
        """
        columns = _columns(observation)
        with self._write() as connection:
            key = {"study_instance_uid": observation.study_instance_uid}
            columns["received_at"] = connection.execute(select(studies.c.first_received).filter_by(**key)).scalar_one()
            known = connection.execute(select(observations.c.outcome).filter_by(**key)).scalar()
            if known is None:
                connection.execute(insert(observations).values(columns))
            elif observation.outcome is not Outcome.FAILED or known == Outcome.FAILED:
                connection.execute(update(observations).filter_by(**key).values(columns))

    def observations(self) -> tuple[Observation, ...]:
        """In order of reception; without results that a person took back."""
        standing = select(observations).join(analyses, analyses.c.id == observations.c.analysis_id)
        wish = standing.where(analyses.c.state != State.WITHDRAWN)
        with self._read() as connection:
            rows = connection.execute(wish.order_by(observations.c.received_at, observations.c.study_instance_uid))
            return tuple(_observation(row) for row in rows.mappings())

    def analyses_by_outcome(self) -> dict[str, int]:
        """How many analyses have come to each outcome, replaced ones among them."""
        return self._counts(analyses.c.outcome)

    def deliveries_by_state(self) -> dict[str, int]:
        return self._counts(deliveries.c.state)

    def _counts(self, column: Any) -> dict[str, int]:
        with self._read() as connection:
            rows = connection.execute(select(column, func.count()).where(column.is_not(None)).group_by(column))
            return {str(name): int(count) for name, count in rows}


def _columns(observation: Observation) -> dict[str, Any]:
    columns = asdict(observation)
    scanner = columns.pop("scanner")
    columns |= {name: scanner[name] for name in ("manufacturer", "field_strength_t", "device")}
    columns["scanner_model"] = scanner["model"]
    return columns | {name: json.dumps(columns[name], sort_keys=True) for name in ("codes", "scores", "measures")}


def _observation(row: Any) -> Observation:
    columns = dict(row)
    scanner = Scanner(
        columns.pop("manufacturer"),
        columns.pop("scanner_model"),
        columns.pop("field_strength_t"),
        columns.pop("device"),
    )
    columns |= {name: json.loads(columns[name]) for name in ("codes", "scores", "measures")}
    columns |= {"codes": tuple(columns["codes"]), "outcome": Outcome(columns["outcome"]), "scanner": scanner}
    return Observation(**columns)
