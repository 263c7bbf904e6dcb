"""The configuration: one TOML file; every key with its unit and meaning, an unknown key is an error.

`mome-node --config FILE`, else `MOME_NODE_CONFIG`, else /etc/mome-node/node.toml. The docstrings below are the manual:
config/node.example.toml is generated from them.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from .errors import SettingsError
from .shipped import shipped

SYSTEM_PLACE = Path("/etc/mome-node/node.toml")

MODEL_FILE = "model.json"
"""In the state folder: which model the worker holds, for the processes that load no torch."""
MODEL_ERROR_FILE = "model.error"
"""In the state folder: why the worker cannot load the model, in words; absent when it can."""

AeTitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
]
"""PS3.5 6.2, VR AE: 1 to 16 characters of the default repertoire, no backslash."""

AdviceMode = Literal["never", "after_reading", "with_result"]
ReportClass = Literal["comprehensive_3d", "comprehensive", "enhanced"]
OverlayKind = Literal["multi_frame", "single_frames"]
FurtherObject = Literal["segmentation", "located_region", "parametric_map", "key_objects"]


@dataclass(frozen=True, slots=True, order=True)
class Variant:
    """How the result objects of one destination differ: destinations that agree in all of it get the same objects."""

    advice: AdviceMode = "with_result"
    language: str = "en"
    report: ReportClass = "comprehensive_3d"
    overlay: OverlayKind = "multi_frame"
    further: tuple[FurtherObject, ...] = ()
    kind: Literal["research", "clinical"] = "research"

    @property
    def name(self) -> str:
        """Folder of its objects, and part of their identity."""
        return "-".join([self.advice, self.language, self.report, self.overlay, *self.further, self.kind])


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Receiver(Section):
    """The Storage SCP: what a PACS or a scanner sends to."""

    ae_title: AeTitle = "MOME"
    """Called AE title of this node, also its calling title when it sends."""
    host: str = "127.0.0.1"
    """Address to listen on. The default reaches this machine only; 0.0.0.0 listens on all interfaces."""
    port: int = Field(default=11112, ge=0, le=65535)
    """TCP port. 0 takes a free one (tests)."""
    max_associations: int = Field(default=50, ge=1)
    """Associations at one time; more are refused as "local limit exceeded" and the sender tries again."""
    max_associations_per_peer: int = Field(default=16, ge=1)
    """Associations at one time from one address, so that one stalled peer cannot lock out the others."""
    idle_timeout_s: float = Field(default=60, gt=0)
    """Silence on an open association after which it is aborted."""
    max_object_mb: int = Field(default=2048, ge=1)
    """Largest object; a larger one is refused with "out of resources" (A700)."""
    reserve_mb: int = Field(default=2048, ge=0)
    """Free disk space below which nothing is accepted (A700), so that what was accepted can be worked on."""
    extra_storage_classes: tuple[str, ...] = ()
    """SOP Class UIDs to accept beside the default list, e.g. of other objects that the PACS routes along."""


class Peer(Section):
    """A DICOM application that may open associations to this node. Others are refused."""

    ae_title: AeTitle
    """Calling AE title, spelled as the peer sends it."""
    addresses: tuple[str, ...] = ()
    """Addresses, networks (10.1.0.0/16) or host names it may call from. Empty: from anywhere (tell your security)."""


class Destination(Section):
    """Where results go: a Storage SCP of a PACS."""

    name: str = Field(min_length=1, max_length=32, pattern=r"^[a-z0-9-]+$")
    """Short name, used in the ledger and on the command line."""
    ae_title: AeTitle
    """Called AE title of the PACS."""
    host: str
    """Name or address of the PACS."""
    port: int = Field(ge=1, le=65535)
    """DICOM port of the PACS."""
    kind: Literal["research", "clinical"] = "research"
    """Who reads there. A research destination also gets the scores of further targets of the weights (subtype,
    response), and the advice with the result unless `advice` says otherwise; a clinical one must state `advice`."""
    advice: AdviceMode | None = None
    """When the BI-RADS 4 advice is shown: never, with_result, or after_reading: where a person's DICOM SR of this study
    with a coded BI-RADS category was there before the analysis. Score and operating point are shown in every mode."""
    language: str | None = None
    """Language of the results here. Default: `results.language`."""
    report: ReportClass = "comprehensive_3d"
    """SOP class of the Structured Report (IHE AIR asks for Comprehensive 3D). One that the PACS does not take is sent
    as the next plainer one by itself; say it here to skip the attempt."""
    overlay: OverlayKind = "multi_frame"
    """The overlay as one multi-frame object or, for an archive that knows none, as a series of single frames. A PACS
    that does not take the first gets the second by itself."""
    further_objects: tuple[FurtherObject, ...] = ()
    """Objects beside report and overlay: "segmentation" and "located_region" (an SR with an outline) of the region that
    the score responds to most, "parametric_map" of the saliency, "key_objects". None of them outlines a lesion."""
    failures_per_hour: int = Field(default=3, ge=0)
    """Reports of "not analysed" sent within an hour; further ones are held for a person, with one alarm: a cause that
    many studies share is the node's or the routing's, not theirs."""
    withdrawal_check_after_s: float = Field(default=30, ge=0)
    """After a rejection note the PACS has this long to hide what it rejects; then it is asked (C-FIND). What it still
    shows, or cannot be asked for, gets a page "WITHDRAWN" in a series of its own."""
    answer_timeout_s: float = Field(default=30, gt=0)
    """Silence after which an attempt has failed. It is tried again; nothing is lost."""
    retry_first_s: float = Field(default=30, gt=0)
    """Wait before the second attempt; doubled for each further one."""
    retry_longest_s: float = Field(default=900, gt=0)
    """Longest wait between two attempts."""
    retry_for_h: float = Field(default=72, gt=0)
    """Hours after which a delivery that keeps failing is put aside as failed, for a person (`jobs retry`)."""

    @model_validator(mode="after")
    def _clinical_states_advice(self) -> Destination:
        if self.kind == "clinical" and self.advice is None:
            raise ValueError(f"clinical destination {self.name!r} must state advice: never, after_reading, with_result")
        return self

    @property
    def shown_advice(self) -> AdviceMode:
        """The advice mode in force; research destinations show advice with the result unless told otherwise."""
        return self.advice or "with_result"


class Assembly(Section):
    """When a study is complete: C-STORE has no "last image" message."""

    quiet_s: float = Field(default=120, gt=0)
    """Seconds without a new MR image after which a study is complete. Longer than the longest pause between two series:
    900 where a scanner, not a PACS, sends them. A report "not analysed" that was early is replaced by itself."""


class Model(Section):
    """The model and how it is run."""

    name: str = "mome"
    """Entry point of the group mome_node.models."""
    weights: Path | None = None
    """Weights file (safetensors), or model folder (`mome bundle`), of which no file may have been altered. Default: the
    demonstration weights that ship with the software."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    augmentation: str = "none"
    """Test-time augmentation by name (MOME: none, mirrored-4, paper-6, paper-18, paper-54): the score is the mean over
    the variants. An operating point belongs to one augmentation; with another, advice is withheld."""
    numeric_type: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is faster, moves the score, and has operating points of its own or none."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of the compute child; 0: all cores but one."""
    timeout_s: float = Field(default=1800, gt=0)
    """Time after which the computation of one study is ended and the study marked failed."""
    max_crashes: int = Field(default=3, ge=1)
    """Times that one study may kill the compute child before it has failed, visibly, and the queue goes on."""


class Results(Section):
    """What is written into the results."""

    language: str = "en"
    """Language of the reports (sr_templates)."""
    templates: Path | None = None
    """Folder of this site's own entries of the report vocabulary: files named as in sr_templates, holding only the
    entries that differ."""
    font: Path | None = None
    """Font file (TrueType or OpenType) for letters that the shipped one lacks: Chinese, Japanese, Korean."""
    demonstrate_advice: bool = False
    """Show the advice although the weights were not evaluated on patients, marked as a demonstration. Takes effect for
    synthetic studies of the node's own generator only."""


class Drift(Section):
    """The drift watch: scores, image quality and refusals of each scanner against the model's cohort or the scanner's
    own first studies. For who runs the node; never in a patient's report. docs/drift.md"""

    enabled: bool = True
    """false: nothing is recorded, compared or written."""
    days: int = Field(default=7, ge=1)
    """Days that are compared. A scanner with fewer than `min_studies` in them: its latest ones, of up to 4 x `days`."""
    min_studies: int = Field(default=12, ge=5)
    """Studies of one scanner below which nothing is said about it."""
    baseline_studies: int = Field(default=40, ge=20)
    """The first studies of a scanner, after each change of software or weights: what its later ones are compared with
    where the model file holds no distribution, and always for refusals and missing sequences."""
    quantities: tuple[str, ...] = ()
    """What is compared: "score", "refused", "incomplete", and measures of quality by name. Empty: all."""
    metrics_file: Path | None = None
    """Prometheus textfile (its name ends in .prom), readable for everyone on this machine; for the textfile collector
    of node_exporter. Default: metrics/mome_node.prom in the state folder, which only the node's account can enter."""

    @model_validator(mode="after")
    def _collector_reads_it(self) -> Drift:
        if self.metrics_file is not None and self.metrics_file.suffix != ".prom":
            raise ValueError(f"metrics_file {self.metrics_file.name} must end in .prom: the collector reads no other")
        return self


class Settings(Section):
    """Everything that a site decides."""

    mode: Literal["research", "clinical"] = "research"
    """research marks every object; clinical refuses to start with weights that were not evaluated on patients."""
    name: str = Field(default="mome-node", min_length=1, max_length=32, pattern=r"^[A-Za-z0-9-]+$")
    """Name of this installation. Do not change it after the first start: work in flight is filed under it."""
    state_folder: Path = Path("/var/lib/mome-node")
    """Ledger, engine, spool and work files. A local disk, not a network share."""
    series_rules: Path | None = None
    """Site words and pins for the series grouping. Default: config/series_rules.toml as shipped."""
    exclusions: Path | None = None
    """Words of this site that withhold the advice, joined with the shipped config/exclusions.toml."""
    receiver: Receiver = Receiver()
    peers: tuple[Peer, ...] = ()
    destinations: tuple[Destination, ...] = ()
    assembly: Assembly = Assembly()
    model: Model = Model()
    results: Results = Results()
    drift: Drift = Drift()

    @model_validator(mode="after")
    def _parts_fit(self) -> Settings:
        silent = [destination.name for destination in self.destinations if destination.advice is None]
        if self.mode == "clinical" and silent:
            raise ValueError(f"mode is clinical: destinations {', '.join(silent)} must state advice")
        if self.mode == "clinical" and self.results.demonstrate_advice:
            raise ValueError("results.demonstrate_advice is for research: mode is clinical")
        for what, names in (
            ("peers", [peer.ae_title for peer in self.peers]),
            ("destinations", [destination.name for destination in self.destinations]),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what}: {', '.join(sorted(twice))} is there twice")
        return self

    def destination(self, name: str) -> Destination:
        """Raises SettingsError for a name that the configuration does not know."""
        for destination in self.destinations:
            if destination.name == name:
                return destination
        raise SettingsError(
            f"The configuration has no destination {name!r}.",
            remedy=f"Known: {', '.join(d.name for d in self.destinations) or 'none'}.",
        )

    def variant(self, destination: Destination) -> Variant:
        """How the objects for this destination are made."""
        return Variant(
            advice=destination.shown_advice,
            language=destination.language or self.results.language,
            report=destination.report,
            overlay=destination.overlay,
            further=tuple(sorted(set(destination.further_objects))),
            kind=destination.kind,
        )

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every variant that a destination needs; without a destination the plain one."""
        wanted = {self.variant(destination) for destination in self.destinations}
        return tuple(sorted(wanted or {Variant(language=self.results.language)}))

    @property
    def template_folders(self) -> tuple[Path, ...]:
        """Folders of the report vocabulary; a later one changes entries of the earlier."""
        own = self.results.templates
        return (shipped("sr_templates"), *([own] if own else []))

    @property
    def series_rules_file(self) -> Path:
        return self.series_rules or shipped("config/series_rules.toml")

    def result_shaping_hash(self) -> str:
        """SHA-256 of what changes a result's pixels, numbers or words; never of AE titles, ports or paths.

        The weights enter a result's identity by their own hash; of `model` count the name and how the score is made.
        """
        digest = hashlib.sha256()
        model = self.model.model_dump(mode="json", include={"name", "augmentation", "numeric_type"})
        results = self.results.model_dump(mode="json", exclude={"templates", "font"})
        shaping = {"mode": self.mode, "model": model, "results": results}
        digest.update(json.dumps(shaping, sort_keys=True).encode())
        templates = [file for folder in self.template_folders for file in sorted(folder.glob("*.toml"))]
        words = [shipped("config/exclusions.toml"), self.exclusions, self.results.font]
        for file in [self.series_rules_file, *templates, *filter(None, words)]:
            digest.update(file.read_bytes())
        return digest.hexdigest()


def load(path: Path | None = None) -> Settings:
    """Read the configuration from `path`, else MOME_NODE_CONFIG, else the system's place, else the defaults.

    Raises SettingsError naming the file, the key and what is wrong with it.
    """
    named = path or (Path(os.environ["MOME_NODE_CONFIG"]) if os.environ.get("MOME_NODE_CONFIG") else None)
    if named is None and not SYSTEM_PLACE.exists():
        return Settings()
    file = named or SYSTEM_PLACE
    try:
        return Settings.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}.", remedy="Name an existing file with --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}.", remedy="Mend the line named.") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()
        )
        raise SettingsError(f"{file}: {problems}.", remedy="Compare with config/node.example.toml.") from error


def example() -> str:
    """A configuration file with every key, its default and its meaning; config/node.example.toml is this text."""
    peer: dict[str, object] = {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"]}
    pacs: dict[str, object] = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": 4242}
    parts = [
        "# Configuration of mome-node. A key that is commented out has the value shown;  # not set: none.",
        *_lines(Settings, {}),
    ]
    parts += ["", "[[peers]]", *_about(Peer), *_lines(Peer, peer)]
    parts += ["", "[[destinations]]", *_about(Destination), *_lines(Destination, pacs)]
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            section = type(field.default)
            parts += ["", f"[{name}]", *_about(section), *_lines(section, {})]
    return "\n".join(parts) + "\n"


def _about(section: type[BaseModel]) -> list[str]:
    return [f"# {line}" for line in _sentences(section.__doc__)]


def _lines(section: type[BaseModel], given: dict[str, object]) -> list[str]:
    """Each plain key of a section with its docstring; keys without a default get the value of `given`."""
    lines = []
    for name, field in section.model_fields.items():
        if isinstance(field.default, Section) or (
            isinstance(field.default, tuple) and name in {"peers", "destinations"}
        ):
            continue
        value = given.get(name, field.default)
        lines += [f"# {line}" for line in _sentences(field.description)]
        lines.append(f"{'' if name in given else '# '}{name} = {_toml(value)}")
    return lines


def _sentences(text: str | None) -> list[str]:
    return " ".join((text or "").split()).split("\n")


def _toml(value: object) -> str:
    if value is None:
        return '"" # not set'
    if isinstance(value, Path):
        return json.dumps(str(value))
    return json.dumps(list(value) if isinstance(value, tuple) else value)
