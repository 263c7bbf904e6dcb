"""Independent judges of the objects that the node writes, each asked the same way: a file in, complaints out.

    python -m tests.judges [--pixelmed] FILE...      every judge on every file; exit code 1 if one complains

dciodvfy (dicom3tools), dsrdump (DCMTK), dicom-validator, PixelMed's DicomSRValidator (half a minute for each report,
so only when asked for), and the rules of this project that no outsider knows. Complaints that are known to be wrong
are listed here with the reason, and nowhere else.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr import _concepts_dict
from pydicom.uid import UID

PIXELMED = Path("/usr/share/java/pixelmed.jar")
STRUCTURED_REPORTS = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{n}" for n in (11, 22, 33, 34))
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")  # in one or the other
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
SIDES = {"80248007", "73056007"}  # left breast, right breast
SCORES = {"111047", "122157", "AI_SCORE"}
PLACES = {"121191", "130488", "111030", "111010", "272741003"}  # segment, region, point, laterality
LOCATED_REGION = "126000"  # title: Imaging Measurement Report
SELECTED_REGION = "111099"
# fmt: off
IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
    "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)
# fmt: on


# ------------------------------------------------------------------ judges from outside
def dciodvfy(path: Path) -> list[str]:
    """IOD conformance. Its exit code is 0 for some errors, so only its words count."""
    return [line for line in _said("dciodvfy", str(path)) if line.startswith("Error")]


def dsrdump(path: Path) -> list[str]:
    """DCMTK reads the tree: value types, relationships, required content."""
    run = subprocess.run(["dsrdump", "-v", str(path)], capture_output=True, text=True, errors="replace")
    lines = (run.stdout + run.stderr).splitlines()
    return [line for line in lines if line.startswith(("E:", "F:"))] + [f"exit code {run.returncode}"] * bool(
        run.returncode
    )


def dicom_validator(path: Path) -> list[str]:
    """Presence of attributes and their VR, from tables made offline (`_standard`)."""
    errors = next(iter(_validator().validate(str(path)).values())).module_errors
    return [f"{module}: {tag} {error.code.name}" for module, tags in errors.items() for tag, error in tags.items()]


def pixelmed(path: Path) -> list[str]:
    """Templates of PS3.16, as IHE's Connectathon judges them.

    On every Measurement Group it tries TID 1410 and 1411 too and misses their content: an error of a template that
    the group does not claim is no error. Without the properties the XPath limits of newer Java stop it half-way.
    """
    limits = [f"-Djdk.xml.{name}=0" for name in ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")]
    lines = _said("java", *limits, "-cp", str(PIXELMED), "com.pixelmed.validate.DicomSRValidator", str(path))
    if not any("IOD validation complete" in line for line in lines):
        return [f"did not complete: {' '.join(lines)[:300]}"]
    if not any("Found Root Template" in line for line in lines):
        return ["no root template recognised"]
    ds = pydicom.dcmread(path)
    return [line for line in lines if line.startswith("Error") and not _of_another_template(line, ds)]


def _of_another_template(line: str, ds: Dataset) -> bool:
    match = re.match(r"Error: Template (\d+) .*?within ([\d.]+): .*Missing conditional content item", line)
    if match is None:
        return False
    item = ds
    for step in match[2].split(".")[1:]:
        item = item.ContentSequence[int(step) - 1]
    claimed = item.get("ContentTemplateSequence")
    return bool(claimed) and claimed[0].TemplateIdentifier != match[1]


def _said(*command: str) -> list[str]:
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return (run.stdout + "\n" + run.stderr).splitlines()


# ------------------------------------------------------------------ dicom-validator without its download
@cache
def _validator() -> Any:
    from dicom_validator.spec_reader.edition_reader import EditionReader
    from dicom_validator.validator.dicom_file_validator import DicomFileValidator

    logging.getLogger("dicom_validator").setLevel(logging.CRITICAL)
    logging.getLogger("validator").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        _standard(Path(folder))
        info = EditionReader(folder).dicom_info_for_edition("local")
    return DicomFileValidator(info, logging.CRITICAL)


def _standard(folder: Path) -> None:
    """The tables that dicom-validator would make of the standard, from those that highdicom and pydicom ship.

    Conditions (1C, 2C, conditional modules) are not evaluated; SR content is left to the judges that know it.
    """
    import dicom_validator
    from pydicom._dicom_dict import DicomDictionary
    from pydicom._uid_dict import UID_dictionary

    shipped = files("highdicom") / "_standard"
    modules, iods, classes = (
        json.loads((shipped / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("module_attribute_map", "iod_module_map", "sop_class_iod_map")
    )
    uids: dict[str, dict[str, str]] = {}
    for uid, (name, kind, *_) in UID_dictionary.items():
        uids.setdefault(kind, {})[uid] = name
    tables = {
        "module_info": {name: _module(name, attributes) for name, attributes in modules.items()},
        "iod_info": {uid: _iod(iod, iods[iod]) for uid, iod in classes.items() if iod in iods},
        "dict_info": {
            _tag(tag): {"name": name, "vr": vr, "vm": vm, "prop": "RET" if retired else ""}
            for tag, (vr, vm, name, retired, _) in DicomDictionary.items()
        },
        "uid_info": uids,
    }
    edition = folder / "2099a"  # any name of an edition; "local" takes the newest
    (edition / "json").mkdir(parents=True)
    (edition / "docbook").mkdir()
    for name, table in tables.items():
        (edition / "json" / f"{name}.json").write_text(json.dumps(table))
    (edition / "json" / "version").write_text(dicom_validator.__version__)
    for part in (3, 4, 6):
        (edition / "docbook" / f"part{part:02d}.xml").write_text("<x/>")
    (folder / "editions.json").write_text(json.dumps([edition.name]))


def _tag(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _iod(title: str, modules: list[dict[str, str]]) -> dict[str, Any]:
    uses = {m["key"]: {"ref": m["key"], "use": m["usage"]} for m in modules}
    for use in uses.values():
        if use["use"] == "C":
            use.update(use="C - not evaluated", cond={"type": "U"})  # type: ignore[call-overload]
    return {"title": title, "modules": uses, "group_macros": {}}


def _module(name: str, attributes: list[dict[str, Any]]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for attribute in sorted(attributes, key=lambda a: len(a["path"])):
        tags = [pydicom.datadict.tag_for_keyword(keyword) for keyword in (*attribute["path"], attribute["keyword"])]
        if None in tags:
            continue
        level = root
        for tag in tags[:-1]:
            level = level.get(_tag(tag), {}).setdefault("items", {}) if level is not None else None
        of_frames = len(tags) == 2 and attribute["path"][0] in FUNCTIONAL_GROUPS
        kind = "3" if of_frames else attribute["type"] or "3"
        entry = {"name": pydicom.datadict.dictionary_description(tags[-1]), "type": kind}
        known = level.get(_tag(tags[-1]))
        if known is not None:
            entry["type"] = min(kind, known["type"])  # the strictest of several rows
        if entry["type"].endswith("C"):
            entry["cond"] = {"type": "U"}
        level[_tag(tags[-1])] = {**(known or {}), **entry}
    if name in ("sr-document-content", "key-object-document"):  # depends on the value type
        for tag, entry in root.items():
            if entry["name"] not in ("Value Type", "Concept Name Code Sequence", "Continuity Of Content"):
                root[tag] = {"name": entry["name"], "type": "3"}
    return root


# ------------------------------------------------------------------ rules of this project
def house_rules(ds: Dataset, source: Dataset | None = None) -> list[str]:
    """What no outsider can know: codes as PS3.16 words them, our scheme declared, patient and study as in `source`."""
    found = [*_codes(ds), *_uids(ds)]
    if not ds.get("ContributingEquipmentSequence"):
        found.append("the algorithm is not among the contributing equipment")
    if "research" not in ds.SeriesDescription.lower():
        found.append("the series description does not say research")
    if source is not None:
        found += _same_patient_and_study(ds, source)
    if ds.SOPClassUID in STRUCTURED_REPORTS:
        found += [*(_located_region(ds) if name_of(ds) == LOCATED_REGION else _tree(ds)), *_evidence(ds)]
    rules = {KEY_OBJECTS: _key_objects, SEGMENTATION: _segmentation, PARAMETRIC_MAP: _parametric_map}
    return found + list(rules.get(ds.SOPClassUID, lambda _: [])(ds))


def _codes(ds: Dataset) -> Iterator[str]:
    declared = {item.CodingSchemeDesignator for item in ds.get("CodingSchemeIdentificationSequence", [])}
    for item in _items(ds):
        if "CodeValue" not in item:
            continue
        value, scheme, meaning = item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning
        if len(value) > 16 or len(meaning) > 64:
            yield f"code too long: {value} {meaning}"
        if scheme.startswith("99") and scheme not in declared:
            yield f"private scheme {scheme} is not declared"
        if scheme == "DCM" and meaning.lower() not in _meanings().get(value, set()):
            yield f"DCM {value} does not mean {meaning!r} but {sorted(_meanings().get(value, set()))}"


@cache
def _meanings() -> dict[str, set[str]]:
    """DCM code value -> its meanings in pydicom's dictionary, lower case."""
    found: dict[str, set[str]] = {}
    for entries in _concepts_dict.concepts["DCM"].values():
        for value, (meaning, _) in entries.items():
            found.setdefault(value, set()).add(meaning.lower().replace("\u200b", ""))
    return found


def _items(ds: Dataset) -> Iterator[Dataset]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)


def _uids(ds: Dataset) -> Iterator[str]:
    for level in (ds, *_items(ds)):
        for element in level:
            values = element.value if isinstance(element.value, list | pydicom.multival.MultiValue) else [element.value]
            if element.VR == "UI" and not all(UID(str(value)).is_valid for value in values):
                yield f"no UID: {element.keyword} {element.value}"


def _same_patient_and_study(ds: Dataset, source: Dataset) -> Iterator[str]:
    wanted = copy.deepcopy(source)
    wanted.decode()
    for keyword in IDENTITY:
        if str(ds.get(keyword) or "") != str(wanted.get(keyword) or ""):
            yield f"{keyword} is not the source's"
    if ds.SeriesInstanceUID == source.SeriesInstanceUID:
        yield "written into a series of the scanner"


def _evidence(ds: Dataset) -> Iterator[str]:
    """Every image that the content refers to stands in the evidence (PS3.3 C.17.2.3)."""
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in ds.get("CurrentRequestedProcedureEvidenceSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    cited = {r.ReferencedSOPInstanceUID for item in _content(ds) for r in item.get("ReferencedSOPSequence", [])}
    for uid in sorted(cited - evidence):
        yield f"{uid} is cited and missing from the evidence"


def _content(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from _content(child)


def name_of(item: Dataset) -> str:
    """Code value of a content item's concept name."""
    names = item.get("ConceptNameCodeSequence")
    return names[0].CodeValue if names else ""


def groups(ds: Dataset) -> list[Dataset]:
    """The measurement groups of a TID 1500 report, in order."""
    return [item for item in _content(ds) if name_of(item) == "125007"]


def _tree(ds: Dataset) -> Iterator[str]:
    if name_of(ds) != "126002":
        yield "the title is not Dynamic Contrast MR Measurement Report"
    if any(item.ValueType in ("SCOORD", "SCOORD3D") for item in _content(ds)):
        yield "the report has coordinates"
    yield from _measurement_report(ds, "1501")


def _measurement_report(ds: Dataset, template_of_groups: str) -> Iterator[str]:
    template = ds.get("ContentTemplateSequence")
    if not template or (template[0].TemplateIdentifier, template[0].MappingResource) != ("1500", "DCMR"):
        yield "the root is not TID 1500"
    root = {name_of(item) for item in ds.ContentSequence}
    for name in sorted({"121049", "121005", "121012", "121058", "126010"} - root):
        yield f"the root lacks {name}"
    for item in (ds, *_content(ds)):
        if item.ValueType == "CONTAINER" and item.ContinuityOfContent != "SEPARATE":
            yield "a container is not SEPARATE"
    if (ds.VerificationFlag, ds.PreliminaryFlag) != ("UNVERIFIED", "PRELIMINARY"):
        yield "it claims to be verified or final"
    tracking = Counter(item.UID for item in _content(ds) if name_of(item) == "112040")
    yield from (f"tracking UID {uid} stands {n} times" for uid, n in tracking.items() if n > 1)
    for number, group in enumerate(groups(ds), 1):
        yield from (f"group {number}: {complaint}" for complaint in _group(group, template_of_groups))


def _group(group: Dataset, template: str) -> Iterator[str]:
    names = Counter(name_of(item) for item in group.ContentSequence)
    for name in ("112039", "112040", "121071", "111001", "111003"):
        if names[name] != 1:
            yield f"{name} stands {names[name]} times"
    if group.get("ContentTemplateSequence", [Dataset()])[0].get("TemplateIdentifier") != template:
        yield f"it is not TID {template}"
    sited = any(
        item.ValueType in ("SCOORD", "SCOORD3D")
        or name_of(item) in PLACES
        or (item.ValueType == "CODE" and item.ConceptCodeSequence[0].CodeValue in SIDES)
        for item in _content(group)
    )
    if sited and SCORES & set(names):
        yield "a score of the whole exam stands with a side, a region, a point or a segment"


# ------------------------------------------------------------------ further objects
def _located_region(ds: Dataset) -> Iterator[str]:
    """An outline on an image in every group, else OHIF shows nothing; no number and no site beside it."""
    yield from _measurement_report(ds, "1410")
    for group in groups(ds):
        names = {name_of(item): item for item in group.ContentSequence}
        outlines = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
        if [item.GraphicType for item in outlines] != ["POLYLINE"]:
            yield "a group is not one outline on an image"
        for points in (list(outline.GraphicData) for outline in outlines):
            if points[:2] != points[-2:]:
                yield "the outline is not closed"
        if any(item.ValueType == "NUM" for item in group.ContentSequence) or "363698007" in names:
            yield "a number or a site stands beside the outline"
        if "121071" in names and names["121071"].ConceptCodeSequence[0].CodeValue != SELECTED_REGION:
            yield "it is called something else than a selected region"
        if not any("not a lesion" in item.get("TextValue", "") for item in group.ContentSequence):
            yield "it does not say that it is no lesion"


def _segmentation(ds: Dataset) -> Iterator[str]:
    for segment in ds.SegmentSequence:
        if segment.SegmentedPropertyTypeCodeSequence[0].CodeValue != SELECTED_REGION:
            yield "a segment is called something else than a selected region"
        if not segment.get("SegmentationAlgorithmIdentificationSequence") or "TrackingUID" not in segment:
            yield "a segment lacks its algorithm or its tracking UID"
        if "not a lesion" not in segment.SegmentDescription:
            yield "a segment does not say that it is no lesion"
    if "Laterality" in ds or any("AnatomicRegionSequence" in segment for segment in ds.SegmentSequence):
        yield "it names a side or a site"
    yield from _in_the_patient(ds)


def _parametric_map(ds: Dataset) -> Iterator[str]:
    if ds.ContentQualification != "RESEARCH":
        yield "it is not qualified as research"
    for mapping in ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence:
        if mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue != "130404":
            yield "its quantity is not saliency"
    yield from _in_the_patient(ds)


def _in_the_patient(ds: Dataset) -> Iterator[str]:
    if "not a lesion" not in ds.ContentDescription:
        yield "it does not say that it is no lesion"
    if not ds.get("FrameOfReferenceUID"):
        yield "it lies in no frame of reference"
    if len(ds.PerFrameFunctionalGroupsSequence) != ds.NumberOfFrames:
        yield "not every frame has its place"
    cited = {r.ReferencedSOPInstanceUID for item in _items(ds) for r in item.get("SourceImageSequence", [])}
    listed = {r.ReferencedSOPInstanceUID for item in _items(ds) for r in item.get("ReferencedInstanceSequence", [])}
    if cited != listed:
        yield "the instances cited by its frames are not those that it lists"


def _key_objects(ds: Dataset) -> Iterator[str]:
    """TID 2010: PixelMed alone sees a concept name on a selected object; here it is seen without it."""
    for item in ds.ContentSequence:
        if item.ValueType in ("IMAGE", "COMPOSITE") and "ConceptNameCodeSequence" in item:
            yield "a selected object has a concept name"
    yield from _evidence(ds)


# ------------------------------------------------------------------ all of them
def judge(path: Path, source: Dataset | None = None, *, with_pixelmed: bool = False) -> list[str]:
    """What every judge complains about in the object at `path`; empty for a good one."""
    ds = pydicom.dcmread(path)
    report = ds.SOPClassUID in {*STRUCTURED_REPORTS, KEY_OBJECTS}
    judges = [dciodvfy, dicom_validator, *([dsrdump] if report else []), *([pixelmed] * (report and with_pixelmed))]
    found = [f"{judge.__name__}: {complaint}" for judge in judges for complaint in judge(path)]
    return found + [f"house rules: {complaint}" for complaint in house_rules(ds, source)]


def main(arguments: list[str]) -> int:
    with_pixelmed = "--pixelmed" in arguments
    complaints = 0
    for path in (Path(a) for a in arguments if not a.startswith("--")):
        found = judge(path, with_pixelmed=with_pixelmed)
        print(f"{'complaints' if found else 'good':10s} {path}", *found, sep="\n    ")
        complaints += len(found)
    return int(complaints > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
