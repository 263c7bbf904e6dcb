"""What the drift watch writes while the node runs: metrics once a minute, a digest once a week; and what it records.

state/digests/YYYY-Www.txt is written when the ISO week is over (UTC), also weeks later when the node was down.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..analysis.inference import ModelInUse, whole_file
from ..findings import Findings, ModelCard
from ..ledger import Ledger, Observation, Outcome, Scanner
from ..settings import MODEL_FILE, Model, Settings
from . import metrics, words
from .assessment import Assessment, assess

log = logging.getLogger(__name__)

GAUSS_PER_TESLA = 10_000.0
DIGESTS_BACK = 8  # weeks: so old ones are written after the node was down


# ------------------------------------------------------------------ recording
def observation(analysis: str, findings: Findings, scanner: Scanner, model: Model, now: datetime) -> Observation:
    """What is kept of a result; the ledger sets the time."""
    scores = [findings.score, *findings.further_scores] if findings.score else []
    return Observation(
        study_instance_uid=findings.study_instance_uid,
        generation=findings.generation,
        analysis_id=analysis,
        received_at=now,
        model=f"{findings.model.name} {findings.model.version}",
        weights_sha256=findings.model.weights_sha256,
        software=findings.software,
        making=f"{model.augmentation} {model.numeric_type}",
        scanner=scanner,
        outcome=Outcome(findings.status),
        codes=tuple(sorted({problem.code for problem in findings.reasons})),
        sequences="+".join(findings.score.made["sequences"]) if findings.score else "",
        target=findings.score.target if findings.score else "",
        scores={one.target: one.score for one in scores if one is not None},
        measures=dict(findings.measures),
    )


def scanner(header: Mapping[str, Any], device: str) -> Scanner:
    """Who acquired an image, from its header by keyword. Field strengths are rounded to a tenth of a tesla."""
    try:
        field = float(header.get("MagneticFieldStrength") or 0)
    except (TypeError, ValueError):
        field = 0.0
    field /= GAUSS_PER_TESLA if field > 100 else 1
    return Scanner(
        manufacturer=" ".join(str(header.get("Manufacturer") or "").split())[:64],
        model=" ".join(str(header.get("ManufacturerModelName") or "").split())[:64],
        field_strength_t=round(field, 1) if 0 < field < 30 else None,
        device=device,
    )


# ------------------------------------------------------------------ assessing
def card_in_use(settings: Settings) -> ModelCard | None:
    """The card of the model that the worker holds or held last; None where none was loaded yet."""
    file = settings.state_folder / MODEL_FILE
    return ModelInUse.read(file).card if file.exists() else None


def today(ledger: Ledger, settings: Settings, now: datetime) -> Assessment:
    """Until last midnight (UTC): whoever asks on one day is told the same, and a day is one chance of a false alarm."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return assess(ledger.observations(), card_in_use(settings), settings.drift, midnight)


# ------------------------------------------------------------------ writing
def write(ledger: Ledger, settings: Settings, now: datetime) -> None:
    """Metrics, and the digests that are due. Raises OSError where a file cannot be written."""
    _write_metrics(ledger, settings, now)
    for week in due(ledger, settings, now):
        assessment = assess(ledger.observations(), card_in_use(settings), settings.drift, week, days=7)
        file = _digest(settings, week)
        file.parent.mkdir(exist_ok=True)
        with whole_file(file) as temporary:
            temporary.write_text(f"{settings.name}: {words.table(assessment)}\n", encoding="utf-8")
        number = len(assessment.warnings)
        log.log(
            logging.WARNING if number else logging.INFO,
            "drift watch: week %s: %d warnings; %s",
            file.stem,
            number,
            file,
        )


def due(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[datetime]:
    """Ends of the weeks that are over and have no digest, the oldest first: from the first study on."""
    observed = ledger.observations()
    if not observed:
        return
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = midnight - timedelta(days=midnight.weekday())
    for back in reversed(range(DIGESTS_BACK)):
        end = monday - timedelta(weeks=back)
        if observed[0].received_at < end and not _digest(settings, end).exists():
            yield end


def _digest(settings: Settings, end: datetime) -> Path:
    year, week, _ = (end - timedelta(days=1)).isocalendar()
    return settings.state_folder / "digests" / f"{year}-W{week:02d}.txt"


def _write_metrics(ledger: Ledger, settings: Settings, now: datetime) -> None:
    own = settings.state_folder / "metrics" / "mome_node.prom"
    file = settings.drift.metrics_file or own
    if file == own:
        file.parent.mkdir(exist_ok=True)
    text = metrics.text(
        today(ledger, settings, now),
        ledger.analyses_by_outcome(),
        ledger.deliveries_by_state(),
        settings.drift.min_studies,
    )
    with whole_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)  # nothing of a patient is in it, and the collector is another account
