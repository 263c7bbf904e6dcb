"""An assessment as metrics in the text format of Prometheus, for the textfile collector of node_exporter.

Quantiles of a scanner appear from `min_studies` on: those of one study would be that study's own numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..ledger import Outcome
from . import exact
from .assessment import Assessment, ScannerReport

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
Sample = tuple[Mapping[str, str], float]


def text(assessment: Assessment, analyses: Mapping[str, int], deliveries: Mapping[str, int], min_studies: int) -> str:
    """The file. `analyses`: since the ledger was made, by outcome; `deliveries`: by their state now."""
    return "".join(_families(assessment, analyses, deliveries, min_studies))


def _families(
    assessment: Assessment, analyses: Mapping[str, int], deliveries: Mapping[str, int], min_studies: int
) -> Iterator[str]:
    period, reports = assessment.period, assessment.scanners
    if period is not None:
        about = {"model": period.model, "weights": period.weights_sha256[:12], "software": period.software}
        yield _family("info", "gauge", "Model and software of the newest study.", [(about, 1)])
    outcomes = {outcome.value: 0 for outcome in Outcome} | dict(analyses)
    yield _family(
        "analyses_total",
        "counter",
        "Analyses that came to an outcome.",
        [({"outcome": k}, v) for k, v in outcomes.items()],
    )
    yield _family("deliveries", "gauge", "Deliveries by state.", [({"state": k}, v) for k, v in deliveries.items()])
    yield _family(
        "scanner_studies",
        "gauge",
        "Studies in the days that the drift watch compares.",
        [(_of(one, outcome=outcome.value), one.count(outcome)) for one in reports for outcome in Outcome],
    )
    yield _family(
        "scanner_refusals",
        "gauge",
        "Studies not analysed in these days, by reason.",
        [(_of(one, code=code), count) for one in reports for code, count in one.codes.items()],
    )
    enough = [
        (report, quantity, values)
        for report in reports
        for quantity, values in report.values.items()
        if len(values) >= min_studies
    ]
    scores = [found for found in enough if found[1].startswith("score ")]
    measures = [found for found in enough if not found[1].startswith("score ")]
    yield _family("score", "gauge", "Quantiles of the scores in these days.", _quantiles(scores, "sequences"))
    yield _family("quality", "gauge", "Quantiles of the measures of quality.", _quantiles(measures, "measure"))
    yield _family(
        "drift_warning",
        "gauge",
        "1: this quantity of this scanner has left its range.",
        [(_of(one, quantity=c.quantity), int(c in one.warnings)) for one in reports for c in one.compared],
    )
    yield _family("drift_warnings", "gauge", "Open warnings of the drift watch.", [({}, len(assessment.warnings))])
    yield _family(
        "drift_assessed_timestamp_seconds",
        "gauge",
        "Until when studies were compared.",
        [({}, assessment.end.timestamp())],
    )


def _quantiles(found: Iterable[tuple[ScannerReport, str, tuple[float, ...]]], label: str) -> list[Sample]:
    return [
        (_of(report, **{label: quantity.removeprefix("score "), "quantile": f"{level:g}"}), value)
        for report, quantity, values in found
        for level, value in exact.quantiles(values, LEVELS).items()
    ]


def _of(report: ScannerReport, **labels: str) -> dict[str, str]:
    return {"scanner": str(report.scanner), **labels}


def _family(name: str, kind: str, about: str, samples: Iterable[Sample]) -> str:
    """One family of samples; nothing where it has none."""
    lines = [f"mome_node_{name}{_labels(labels)} {value:.10g}\n" for labels, value in samples]
    return f"# HELP mome_node_{name} {about}\n# TYPE mome_node_{name} {kind}\n{''.join(lines)}" if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    quoted = [f'{key}="{_escaped(value)}"' for key, value in labels.items()]
    return f"{{{','.join(quoted)}}}" if quoted else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
