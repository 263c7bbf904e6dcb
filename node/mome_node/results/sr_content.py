"""What every tree of content items shares: who observed, by which algorithm, and how it is laid out."""

from __future__ import annotations

from highdicom import sr
from pydicom.dataset import Dataset

from ..findings import Findings
from .identity import ResultIdentity
from .sr_template import Vocabulary


def observer(findings: Findings, identity: ResultIdentity, vocabulary: Vocabulary) -> sr.ObserverContext:
    """TID 1002 with TID 1004: the software as a device."""
    model = findings.model
    return sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=identity.uid("device"),
            name=model.name,
            manufacturer_name=vocabulary.manufacturer,
            model_name=f"{model.name} {model.version}",
            serial_number=model.weights_sha256[:16],
        ),
    )


def algorithm(findings: Findings, vocabulary: Vocabulary) -> sr.AlgorithmIdentification:
    """TID 4019: name, version, and everything that shaped the numbers."""
    model = findings.model
    parameters = [f"weights SHA-256 {model.weights_sha256}", f"device {model.device}", findings.software]
    if findings.score is not None:
        parameters += [f"{key} {_plain(value)}" for key, value in sorted(findings.score.made.items())]
    return sr.AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=["; ".join(parameters)],
        family=vocabulary.codes["algorithm_family"],
    )


def separate(item: Dataset) -> None:
    """SEPARATE on every container: a viewer then prints "name: value" and not bare values."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence", []):
        separate(child)


def _plain(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
