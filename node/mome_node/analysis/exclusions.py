"""What a request or a description says in words of surgery, biopsy, implants, ...: headers in, reasons to withhold out.

No header has a field for most of them, so this finds what somebody wrote, in many languages
(`config/exclusions.toml`), and never that a patient has none. Negations are not read: doubt withholds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage

from ..findings import Reason
from ..shipped import shipped
from ..site_files import LayeredFile
from ..study import Instance, Study

KINDS = (
    "surgery_or_radiotherapy",
    "recent_biopsy",
    "implant",
    "pregnancy_or_lactation",
    "neoadjuvant_therapy",
    "known_cancer",
    "palpable_or_other_modality",
)
LISTS = ("words", "harmless", "harmless_in_names")

MR_IMAGES = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})

# fmt: off
NAMES = (  # chosen from a list at the console or by the information system
    "StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription", "PerformedProcedureStepDescription", "RequestedProcedureCodeSequence",
    "ProcedureCodeSequence", "ScheduledProtocolCodeSequence", "PerformedProtocolCodeSequence",
)
PROSE = (  # written about this patient
    "ReasonForTheRequestedProcedure", "ReasonForRequestedProcedureCodeSequence", "RequestedProcedureComments",
    "ReasonForStudy", "ReasonForVisit", "ReasonForVisitCodeSequence", "ReasonForTheImagingServiceRequest",
    "ImagingServiceRequestComments", "CommentsOnTheScheduledProcedureStep", "CommentsOnThePerformedProcedureStep",
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "AdditionalPatientHistory", "MedicalAlerts",
    "PatientState", "PatientComments", "StudyComments", "ImageComments", "AcquisitionComments",
)
# fmt: on
PREGNANCY = {2: "possibly pregnant", 3: "definitely pregnant"}
"""PregnancyStatus (0010,21C0) that withholds; 4, unknown, is what the list below every advice asks to look for."""

MOST_NAMED = 3  # places of one kind that a reason names

UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u9fff]+)")  # Chinese and Japanese: no spaces between words
VOICED = "\u3099\u309a"  # marks that make another Japanese syllable, no accents


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One kind of exclusion and the words that tell it."""

    kind: str
    name: str  # for the reason
    in_names: bool  # False: names of studies and series do not count
    words: re.Pattern[str]
    harmless: re.Pattern[str]
    harmless_in_names: re.Pattern[str]

    def find(self, text: str, *, is_name: bool) -> str | None:
        """The word that tells it in a text, normalised; None where none does."""
        if is_name and not self.in_names:
            return None
        kept = self.harmless.sub("\n", normalised(text))
        if is_name:
            kept = self.harmless_in_names.sub("\n", kept)
        match = self.words.search(kept)
        return match[0] if match else None


def load(site: Path | None = None) -> tuple[Exclusion, ...]:
    """The shipped exclusions, their lists joined with those of a site's own file.

    Raises SettingsError naming file, line and key for what it cannot mean.
    """
    paths = [shipped("config/exclusions.toml"), *([site] if site else [])]
    layers = [LayeredFile(path.name, [path.parent]) for path in paths]
    for layer in layers:
        for kind in sorted(set(layer.tables) - set(KINDS)):
            raise layer.refuse(kind, f"no such exclusion; there are {', '.join(KINDS)}")
    return tuple(_exclusion(kind, layers) for kind in KINDS)


def stated(headers: Iterable[Dataset], exclusions: Sequence[Exclusion]) -> tuple[Reason, ...]:
    """One reason for each kind of exclusion that the headers speak of: its words and where they stand, no other text.

    `headers`: one image of each series (`one_of_each_series`).
    """
    said = list(dict.fromkeys(entry for header in headers for entry in _texts(header)))
    reasons = []
    for exclusion in exclusions:
        found = [(exclusion.find(text, is_name=is_name), attribute) for attribute, text, is_name in said]
        places = list(dict.fromkeys(f'"{word}" in {attribute}' for word, attribute in found if word))
        if places:
            more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
            text = f"Exclusion in words: {exclusion.name} ({', '.join(places[:MOST_NAMED])}{more})."
            reasons.append(Reason(f"EXCLUDED_{exclusion.kind.upper()}", text))
    return tuple(reasons)


def one_of_each_series(study: Study) -> list[Instance]:
    """The first MR image of every series: only MR images may change a result, reports and captures come and go."""
    kept: dict[str, Instance] = {}
    for instance in study.instances:
        if instance.sop_class_uid in MR_IMAGES:
            kept.setdefault(instance.series_instance_uid, instance)
    return list(kept.values())


def normalised(text: str) -> str:
    """Lower case without accents, full-width letters as the others, one space between words and around Chinese."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(c for c in decomposed if c in VOICED or not unicodedata.combining(c))
    plain = unicodedata.normalize("NFC", kept)
    return re.sub(r"(?:[^\w?]|_)+", " ", UNSPACED.sub(r" \1 ", plain))


# ------------------------------------------------------------------ the words
def _exclusion(kind: str, layers: Sequence[LayeredFile]) -> Exclusion:
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    name, in_names = "", True
    for layer in layers:
        if kind not in layer.tables:
            continue
        for key in layer.table(kind):
            if key not in (*LISTS, "name", "in_names"):
                raise layer.refuse(f"{kind}.{key}", f"the software knows no such entry; it knows {', '.join(LISTS)}")
        if "name" in layer.table(kind):
            name = layer.text(kind, "name", 64)
        in_names = _truth(layer, kind, in_names)
        for key in LISTS:
            lists[key] += _words(layer, kind, key)
    return Exclusion(kind, name, in_names, *(_pattern(lists[key]) for key in LISTS))


def _truth(layer: LayeredFile, kind: str, otherwise: bool) -> bool:
    value = layer.table(kind).get("in_names", otherwise)
    if not isinstance(value, bool):
        raise layer.refuse(f"{kind}.in_names", "must be true or false")
    return value


def _words(layer: LayeredFile, kind: str, key: str) -> list[str]:
    value = layer.table(kind).get(key, [])
    if not (isinstance(value, list) and all(isinstance(word, str) for word in value)):
        raise layer.refuse(f"{kind}.{key}", 'must be a list of words, as ["one", "two"]')
    for word in value:
        if len(normalised(word.replace("*", "")).strip()) < 1 + word.isascii():  # one Chinese character is a word
            raise layer.refuse(f"{kind}.{key}", f"{word!r} would be found everywhere")
    return value


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Any of the words between word boundaries, * for further letters; Chinese and Japanese ones anywhere."""
    ordered = sorted(set(words), key=lambda word: (-len(word), word))  # of two that fit, the longer one is quoted
    unspaced = [re.escape(normalised(word).strip()) for word in ordered if UNSPACED.search(word)]
    spaced = [_letters(word) for word in ordered if not UNSPACED.search(word)]
    return re.compile("|".join([rf"(?<!\w)(?:{'|'.join(spaced) or '(?!)'})(?!\w)", *unspaced]))


def _letters(word: str) -> str:
    """A pattern of the word as it stands in a normalised text."""
    return r"\w*".join(re.escape(normalised(part)) for part in word.strip().split("*"))


# ------------------------------------------------------------------ the headers
def _texts(header: Dataset) -> Iterator[tuple[str, str, bool]]:
    """(Attribute, text, is it a name) of an image and of its request (PS3.3 C.4.8, 10.6, C.7.1.1, C.7.2.2, C.7.3.1)."""
    for item in (header, *header.get("RequestAttributesSequence", [])):
        for keywords, is_name in ((NAMES, True), (PROSE, False)):
            for keyword in keywords:
                for text in _values(item.get(keyword)):
                    yield keyword, text, is_name
    if header.get("PregnancyStatus") in PREGNANCY:
        yield "PregnancyStatus", PREGNANCY[header.PregnancyStatus], False


def _values(value: object) -> list[str]:
    """Text, texts, or the meanings of codes."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    items: Iterable[object] = value if isinstance(value, Iterable) else [value]
    return [str(item.get("CodeMeaning", "")) if isinstance(item, Dataset) else str(item) for item in items]
