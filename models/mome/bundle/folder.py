"""Model folders written, and opened only where every file is what the manifest and the header of the weights say."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation import separation
from ..evaluation.separation import RECORD
from ..header import ARCHIVE, BACKBONE, Header, header_of, metadata_of, read_metadata, sha256, weights_file
from . import archive, manifest
from .generated import differences, documents
from .manifest import MANIFEST, BundleError
from .page import page

WEIGHTS = "models/model.safetensors"
PAGE = "docs/README.md"
RUN = "training/run.json"
LOCAL = ("cohorts", "start")
"""Members of a training's configuration that name folders of the machine it ran on."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model folder that was checked."""

    folder: Path
    identity: str  # SHA-256 of its manifest
    files: Mapping[str, str]  # SHA-256 by name

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def weights_sha256(self) -> str:
        return self.files[WEIGHTS]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The reports of `mome evaluate` in it."""
        return [read_json(self.folder / name) for name in sorted(self.files) if name.startswith("evaluation/")]


# ------------------------------------------------------------------ opening
def open_folder(path: str | Path) -> Bundle:
    """A model folder or its archive, after all its hashes were checked; raises BundleError for an altered one.

    An archive is unpacked into the user's cache (`archive.unpacked`).
    """
    folder = archive.unpacked(Path(path)) if is_archive(Path(path)) else Path(path)
    files = manifest.check(folder)
    if WEIGHTS not in files:
        raise BundleError(f"{folder.name} is no model folder: {WEIGHTS} is missing.")
    said = metadata_of(folder / WEIGHTS, files[WEIGHTS])
    if said.get("kind") != BACKBONE and (told := disagreement(folder, said, header_of(said, WEIGHTS), files)):
        raise BundleError(
            f"{folder.name} was altered: its weights say something else than its files ({'; '.join(told)}). "
            "Write it anew with `mome bundle write`."
        )
    return Bundle(folder, sha256(folder / MANIFEST), files)


def is_archive(path: Path) -> bool:
    return path.suffix == ARCHIVE and path.is_file()


def disagreement(folder: Path, said: Mapping[str, Any], header: Header, files: Mapping[str, str]) -> list[str]:
    configs = {name: read_json(folder / name) for name in files if name.startswith("configs/")}
    return differences(said, header, configs)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path.name} is damaged: {error}.") from error


# ------------------------------------------------------------------ writing
def write(out: Path, weights: str | Path, *, training: Path | None = None, evaluations: Sequence[Path] = ()) -> str:
    """Write a model folder, or, where `out` ends in .zip, its archive, whole or not at all; its identity.

    `training`: the folder a training left, which has `seen.csv` and `run.json`. The record of exams seen is that one's
    and the one beside the weights, together. `evaluations`: reports of `mome evaluate --json` of these very weights.
    Raises BundleError for anything else, for a file that holds no network, and where `out` is there already.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise BundleError(f"{out.name} is there already: name a new folder, a model folder is never changed.")
    source = weights_file(weights)
    said = read_metadata(source)
    header = header_of(said, source.name)
    reports = {f"evaluation/{name}": text for name, text in reports_of(evaluations, header).items()}
    partial = out.with_name(f"{out.stem}.{os.getpid()}.partial")
    (partial / WEIGHTS).parent.mkdir(parents=True)
    try:
        shutil.copyfile(source, partial / WEIGHTS)
        texts = {name: json_text(document) for name, document in documents(said, header).items()}
        texts |= reports | training_of(training, weights)
        records = records_of(training, weights)
        if records:
            separation.write(partial / RECORD, [exam for record in records for exam in separation.read(record)])
        texts[PAGE] = page(header, [json.loads(text) for text in reports.values()], bool(records))
        for name, text in texts.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
        manifest.write(partial)
        identity = open_folder(partial).identity
        if out.suffix == ARCHIVE:
            archive.write(partial, out)
        else:
            if out.exists():
                out.rmdir()
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return identity


def json_text(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def reports_of(paths: Sequence[Path], header: Header) -> dict[str, str]:
    """Texts by file name; raises BundleError for a report of other weights."""
    own = header.card["weights_sha256"]
    known = {own, *(bound.get("weights_sha256") for bound in header.card.get("evaluations", ()))}
    texts: dict[str, str] = {}
    for number, path in enumerate(paths, 1):
        if not path.is_file():
            raise BundleError(f"There is no evaluation at {path}.")
        report = read_json(path)
        of = report.get("weights_sha256") if isinstance(report, dict) else None
        if of not in known:
            raise BundleError(
                f"{path.name} is no evaluation of these weights: it is of {str(of)[:12]}, these are {own[:12]}. "
                "Run `mome evaluate` with these weights."
            )
        texts[f"{number:02}.json"] = path.read_text(encoding="utf-8")
    return texts


def training_of(training: Path | None, weights: str | Path) -> dict[str, str]:
    """How the training went, by file name; raises BundleError for a folder of other weights."""
    if training is None:
        return {}
    if not (training / RECORD).is_file():
        raise BundleError(f"{training} is no folder of a training: it has no {RECORD}, the record of the exams it saw.")
    check_same_tensors(training, weights)
    texts = {}
    if (training / "run.json").is_file():
        run = read_json(training / "run.json")
        run["configuration"] = {n: v for n, v in run.get("configuration", {}).items() if n not in LOCAL}
        texts[RUN] = json_text(run)
    if (training / "curves.csv").is_file():
        texts["training/curves.csv"] = (training / "curves.csv").read_text(encoding="utf-8")
    return texts


def records_of(training: Path | None, weights: str | Path) -> list[Path]:
    """Records of exams seen: of the training, and beside the weights, where `mome freeze` adds those of tuning."""
    source = Path(weights)
    records = [
        separation.record_of(weights_file(source).parents[1] if is_archive(source) else source),
        training and training / RECORD,
    ]
    return [record for record in records if record is not None]


def check_same_tensors(training: Path, weights: str | Path) -> None:
    """The card may have been changed since (operating points, distributions), the numbers not."""
    from ..weights import tensors_sha256

    trained = training / "weights.safetensors"
    if trained.is_file() and tensors_sha256(trained) != tensors_sha256(weights):
        raise BundleError(f"{training.name} trained other weights than these: name the folder that made them.")


def summary(bundle: Bundle) -> dict[str, Any]:
    """What `mome bundle show` prints: identity, card, figures, files."""
    card = metadata_of(bundle.weights, bundle.weights_sha256)["card"]
    names = ("version", "status", "trained_on", "evaluated_on_patients", "weights_sha256")
    return {
        "identity": bundle.identity,
        **{name: card.get(name) for name in names},
        "operating_points": [point["name"] for point in card.get("operating_points", ())],
        "evaluations": [
            {name: report.get(name) for name in ("cohort", "synthetic", "n", "auroc")} for report in bundle.evaluations
        ],
        "files": dict(bundle.files),
    }
