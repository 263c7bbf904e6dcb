"""Chapters 8.3 and 8.7: the codes and the content tree of the report, and what is read of the images for matching."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.datadict import dictionary_description
from pydicom.sr.coding import Code

from ..analysis import elements
from ..results.sr_template import Vocabulary
from .markdown import table
from .result_objects import tag_text

GROUP_CONTENT: Mapping[str, Mapping[str, str]] = {
    "summary": {
        "replaces": "TEXT", "conclusion": "TEXT", "status": "CODE", "reason_not_analysed": "TEXT", "remedy": "TEXT",
        "advice": "CODE", "advice_text": "TEXT", "advice_reason": "TEXT", "exclusions": "TEXT",
        "known_category": "TEXT", "limits": "TEXT",
    },
    "score": {
        "probability_of_cancer": "NUM", "ai_score": "NUM", "score_scope": "TEXT", "operating_point": "NUM",
        "operating_point_text": "TEXT", "contribution_baseline": "NUM", "contribution_dce": "NUM",
        "contribution_dwi": "NUM", "contribution_t2": "NUM",
    },
    "inputs": {
        "input_dce": "CODE", "input_dwi": "CODE", "input_t2": "CODE", "input_text": "TEXT", "input_rejected": "TEXT",
    },
    "quality": {"measure": "TEXT", "problem": "TEXT", "quality_text": "TEXT"},
    "tnbc": {"conclusion": "TEXT", "probability": "NUM", "ai_score": "NUM"},
    "pcr": {"conclusion": "TEXT", "probability": "NUM", "ai_score": "NUM"},
}  # fmt: skip
"""Group of the report -> names of the vocabulary that it may contain, with their value types."""

FURTHER = ("tnbc", "pcr")  # targets that stand in reports for research destinations only
SCORED = ("score", *FURTHER)
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")

USES = {
    "title": "title of the report",
    "procedure": "value of Procedure reported",
    "region_title": "title of the located region",
    "key_objects": "title of the key objects",
    "key_objects_text": "concept name, TEXT, key objects and rejection note",
    "both_breasts": "value of Finding Site",
    "selected_region": "Finding of the located region, type of the segment",
    "present": "value of the inputs",
    "absent": "value of the inputs",
}

ROOT = (  # relationship, value type, concept name, value
    ("HAS CONCEPT MOD", "CODE", '(121049, DCM, "Language of Content Item and Descendants")', "of the words, RFC 5646"),
    ("HAS OBS CONTEXT", "CODE", '(121005, DCM, "Observer Type")', '(121007, DCM, "Device")'),
    ("HAS OBS CONTEXT", "UIDREF", '(121012, DCM, "Device Observer UID")', "derived from the SHA-256 of the weights"),
    ("HAS OBS CONTEXT", "TEXT", '(121013, DCM, "Device Observer Name")', "name of the model"),
    ("HAS OBS CONTEXT", "TEXT", '(121014, DCM, "Device Observer Manufacturer")', "of `codes.toml`"),
    ("HAS OBS CONTEXT", "TEXT", '(121015, DCM, "Device Observer Model Name")', "name and version of the model"),
    ("HAS OBS CONTEXT", "TEXT", '(121016, DCM, "Device Observer Serial Number")', "first 16 digits of the SHA-256"),
    ("HAS CONCEPT MOD", "CODE", '(121058, DCM, "Procedure reported")', "code `procedure` below"),
    ("CONTAINS", "CONTAINER", '(126010, DCM, "Imaging Measurements")', "the groups"),
)
EVERY_GROUP = (
    ("HAS OBS CONTEXT", "TEXT", '(112039, DCM, "Tracking Identifier")', "name of the group and short result ID"),
    ("HAS OBS CONTEXT", "UIDREF", '(112040, DCM, "Tracking Unique Identifier")', "derived as in 8.1.2"),
    ("CONTAINS", "CODE", '(121071, DCM, "Finding")', "what the group is about"),
    ("HAS CONCEPT MOD", "TEXT", '(111001, DCM, "Algorithm Name")', "name of the model"),
    ("HAS CONCEPT MOD", "TEXT", '(111003, DCM, "Algorithm Version")', "version of the model"),
    ("HAS CONCEPT MOD", "TEXT", '(111002, DCM, "Algorithm Parameters")', "weights, device, how the score is made"),
    ("HAS CONCEPT MOD", "CODE", '(111000, DCM, "Algorithm Family")', '(123110, DCM, "Artificial Intelligence")'),
)


TREE_HEADER = ("Relationship", "Value type", "Concept name", "Value")


def facts(vocabulary: Vocabulary) -> dict[str, object]:
    """What the statement says of codes, templates and matching, by the names in `statement.md`."""
    scheme = vocabulary.scheme
    row = (scheme.designator, scheme.uid, scheme.name, scheme.version, scheme.organization)
    return {
        "scheme": table(("Designator", "UID", "Name", "Version", "Responsible organisation"), [row]),
        "private_codes": table(("Code Value", "Code Meaning", "Name", "Used as"), _private(vocabulary)),
        "standard_codes": table(("Code Value", "Scheme", "Code Meaning", "Name", "Used as"), _standard(vocabulary)),
        "language": _coded(vocabulary.language),
        "tree_root": table(TREE_HEADER, ROOT),
        "tree_group": table(TREE_HEADER, EVERY_GROUP),
        "tree_content": "\n\n".join(_group(name, vocabulary) for name in (*vocabulary.groups, *FURTHER)),
        "matching": table(("Attribute", "Tag"), _matching()),
        "matching_private": table(
            ("Private creator", "Element"),
            [(creator.upper(), f"({group:04X},xx{element:02X})") for group, creator, element in elements.PRIVATE],
        ),
    }


# ------------------------------------------------------------------ the report
def _group(name: str, vocabulary: Vocabulary) -> str:
    codes = vocabulary.codes
    rows: list[tuple[str, str]] = []
    if name in SCORED:
        rows.append(("CODE", f'(363698007, SCT, "Finding Site") = {_coded(codes["both_breasts"])}'))
    rows += [(kind, _coded(codes[key])) for key, kind in GROUP_CONTENT[name].items()]
    if name == "inputs":
        rows.append(("IMAGE", f"{_coded(SOURCE_OF_MEASUREMENT)}: the first image of each sequence used"))
    if name == "quality":
        rows.append(("NUM", "one for each measure that was taken (8.3.1)"))
    about = f"{_coded(codes[f'group_{name}'])}{', for research destinations only' if name in FURTHER else ''}"
    return f"{about}\n\n{table(('Value type', 'Concept name'), rows)}"


def _private(vocabulary: Vocabulary) -> list[tuple[str, ...]]:
    own = vocabulary.scheme.designator
    codes = [(name, code) for name, code in vocabulary.codes.items() if code.scheme_designator == own]
    rows: list[tuple[str, ...]] = [(code.value, code.meaning, name, _use(name)) for name, code in codes]
    for name, one in vocabulary.measures.items():
        use = f"concept name, NUM, group quality; unit {one.unit.value}, {one.decimals} decimals"
        rows.append((one.code.value, one.code.meaning, name, use))
    return rows


def _standard(vocabulary: Vocabulary) -> list[tuple[str, ...]]:
    own = vocabulary.scheme.designator
    named = [(name, code, _use(name)) for name, code in vocabulary.codes.items() if code.scheme_designator != own]
    named += [(name, code, "unit") for name, code in vocabulary.units.items()]
    return [(code.value, code.scheme_designator, code.meaning, name, use) for name, code, use in named]


def _use(name: str) -> str:
    """What the code of this name is in an object."""
    groups = [group for group, content in GROUP_CONTENT.items() if name in content]
    if groups:
        return f"concept name, {GROUP_CONTENT[groups[0]][name]}, group {', '.join(groups)}"
    of, _, value = name.partition("_")
    uses = {"group": f"Finding of the group {value}", "status": "value of status", "advice": "value of advice",
            "rejected": "title of the rejection note"}  # fmt: skip
    return uses.get(of, USES.get(name, "value"))


def _coded(code: Code) -> str:
    return f'({code.value}, {code.scheme_designator}, "{code.meaning}")'


# ------------------------------------------------------------------ the images
def _matching() -> list[tuple[str, str]]:
    """Attributes that the grouping reads, in the order of their groups in the code."""
    identities = {*elements.UIDS, *elements.FILE_META}
    tags = [tag for tag, (keyword, _) in elements.STANDARD.items() if keyword not in identities]
    rows = [(dictionary_description(tag), tag_text(tag)) for tag in tags]
    rows += [(f"{dictionary_description(tag)}, first item", tag_text(tag)) for tag in elements.CODED if tag is not None]
    return rows
