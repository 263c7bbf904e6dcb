"""Names in every script arrive in the results as they were sent: another spelling is another patient to an archive.

The images are encoded with Python's codecs, byte by byte as PS3.5 describes it, and not with the library under test.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from mome_node.results import secondary_capture, structured_report
from mome_node.results.objects import save
from mome_node.results.sr_template import load_vocabulary
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
MARKS = "^=\\"  # between the parts of a name and of a value; code extensions end at them (PS3.5 6.1.2.5.3)


# ------------------------------------------------------------------ bytes as a scanner writes them
def plain(codec: str) -> Callable[[str], bytes]:
    return lambda text: text.encode(codec)


def korean(text: str) -> bytes:
    """KS X 1001 in G1, designated anew in each part that needs it (PS3.5 I.2)."""
    return by_parts(text, lambda part: b"" if part.isascii() else b"\x1b$)C", "euc_kr")


def chinese(text: str) -> bytes:
    """GB 2312 in G1, designated anew in each part that needs it (PS3.5 K.2)."""
    return by_parts(text, lambda part: b"" if part.isascii() else b"\x1b$)A", "gb2312")


def by_parts(text: str, designation: Callable[[str], bytes], codec: str) -> bytes:
    parts, part = b"", ""
    for letter in f"{text}\0":
        if letter in f"{MARKS}\0":
            parts += designation(part) + (part + letter.strip("\0")).encode(codec)
            part = ""
        else:
            part += letter
    return parts


def explicit(values: Mapping[str, bytes]) -> bytes:
    """A data set in Explicit VR Little Endian of short texts (and sequences, whose value is made of items)."""
    stream = b""
    for keyword, value in sorted(values.items(), key=lambda pair: tag_for_keyword(pair[0]) or 0):
        tag, vr = tag_for_keyword(keyword) or 0, dictionary_VR(keyword)
        padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        length = struct.pack("<2xI" if vr in ("SQ", "UT") else "<H", len(padded))
        stream += struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + padded
    return stream


def item(values: Mapping[str, bytes]) -> bytes:
    data = explicit(values)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data


def received(values: Mapping[str, bytes]) -> Dataset:
    """The header of one image, as it is read from a file."""
    image = fixtures.source()
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    identity = {keyword: str(image[keyword].value).encode() for keyword in needed}
    return dcmread(BytesIO(explicit(identity | dict(values))), force=True)


# ------------------------------------------------------------------ scripts
@dataclass(frozen=True)
class Script:
    charset: str | None  # SpecificCharacterSet; None: the attribute is absent
    encode: Callable[[str], bytes]
    name: str
    description: str


SCRIPTS = {
    "none": Script(None, plain("ascii"), "Smith^Ann", "MR breast"),
    "Latin-1": Script("ISO_IR 100", plain("latin-1"), "Müller^Änne^^Dr.", "MR Mamma beidseits präoperativ"),
    "Latin-2": Script("ISO_IR 101", plain("iso8859-2"), "Łuczak^Żaneta", "MR piersi, obie strony, ąęść"),
    "Cyrillic": Script("ISO_IR 144", plain("iso8859-5"), "Люкceмбypг^Анна", "МРТ молочных желёз"),
    "Greek": Script("ISO_IR 126", plain("iso8859-7"), "Διονυσιος^Μαρία", "Μαστοί"),
    "UTF-8": Script("ISO_IR 192", plain("utf-8"), "Wang^XiaoDong=王^小東=", "乳房 MRI, Brüste, груди"),
    "GB18030": Script("GB18030", plain("gb18030"), "Wang^XiaoDong=王^小东=", "双侧乳腺磁共振"),
    "Chinese, extended": Script(r"\ISO 2022 IR 58", chinese, "Zhang^XiaoDong=张^小东=", "乳腺 MRI"),
    "Japanese": Script(
        r"\ISO 2022 IR 87", plain("iso2022_jp"), "Yamada^Hanako=山田^花子=やまだ^はなこ", "乳腺MRI 造影"
    ),
    "Korean": Script(r"\ISO 2022 IR 149", korean, "Hong^Gildong=洪^吉洞=홍^길동", "유방 MRI"),
}


def header(script: Script) -> dict[str, bytes]:
    values = {
        "PatientName": script.encode(script.name),
        "ReferringPhysicianName": script.encode(script.name),
        "StudyDescription": script.encode(script.description),
        "PatientID": b"SYN-0001",
    }
    return values if script.charset is None else values | {"SpecificCharacterSet": script.charset.encode()}


def report(source: Dataset) -> Dataset:
    document = fixtures.findings()
    names = fixtures.identity(document)
    return structured_report.build(document, source, fixtures.evidence(source), names, VOCABULARY)


def page(source: Dataset) -> Dataset:
    document = fixtures.refused()  # one page: the pixels are another test's business
    names = fixtures.identity(document)
    return secondary_capture.build(document, source, fixtures.evidence(source), names, VOCABULARY, None, None, None)


OBJECTS = {"report": report, "overlay": page}


def written(ds: Dataset, folder: Path) -> Path:
    path = folder / "result.dcm"
    save(ds, path)
    return path


def utf8(text: str) -> bytes:
    """As it must stand in the file; trailing empty groups of a name may go."""
    return text.rstrip("=").encode()


# ------------------------------------------------------------------ rules
@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_text_of_every_script_arrives_in_utf_8(script: str, kind: str, tmp_path: Path) -> None:
    """Patient, physician and study description, in the bytes of the file and as a reader decodes them."""
    sent = SCRIPTS[script]
    path = written(OBJECTS[kind](received(header(sent))), tmp_path)
    raw, ds = path.read_bytes(), dcmread(path)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert raw.count(utf8(sent.name)) == 2
    assert utf8(sent.description) in raw
    assert str(ds.PatientName).rstrip("=") == sent.name.rstrip("=")
    assert str(ds.ReferringPhysicianName).rstrip("=") == sent.name.rstrip("=")
    assert ds.StudyDescription == sent.description


def test_the_encoders_of_this_test_write_what_the_standard_shows() -> None:
    """The examples of PS3.5 H.3.1 and I.2, byte by byte."""
    assert SCRIPTS["Japanese"].encode("山田^太郎") == b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    assert korean("Hong^Gildong=洪^吉洞=홍^길동") == (
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    )


@pytest.mark.parametrize("kind", OBJECTS)
def test_identity_is_copied_as_it_is(kind: str, tmp_path: Path) -> None:
    """An archive files by number and issuer; a report under half an identity is filed nowhere, or elsewhere."""
    issuer = item({"LocalNamespaceEntityID": b"RIS-2"})
    told = {
        "IssuerOfPatientID": "Klinik Süd".encode("latin-1"),
        "PatientID": b"  0007 A",
        "PatientBirthDate": b"19700101",
        "PatientSex": b"F",
        "AccessionNumber": "A-4711/ü".encode("latin-1"),
        "IssuerOfAccessionNumberSequence": issuer,
        "StudyID": b"0042",
        "StudyDate": b"20240517",
        "StudyTime": b"095812.25",
        "OtherPatientIDsSequence": item({"PatientID": b"OLD-1", "TypeOfPatientID": b"TEXT"}),
        "TimezoneOffsetFromUTC": b"-0330",
    }
    source = received(header(SCRIPTS["Latin-1"]) | told)
    ds = dcmread(written(OBJECTS[kind](source), tmp_path))
    assert (ds.IssuerOfPatientID, ds.PatientID) == ("Klinik Süd", "  0007 A")
    assert (ds.PatientBirthDate, ds.PatientSex) == ("19700101", "F")
    assert (ds.AccessionNumber, ds.StudyID) == ("A-4711/ü", "0042")
    assert ds.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS-2"
    assert (ds.StudyDate, ds.StudyTime) == ("20240517", "095812.25")
    assert ds.OtherPatientIDsSequence[0].PatientID == "OLD-1"
    assert ds.TimezoneOffsetFromUTC == "-0330"


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_the_images_lack_is_not_invented(kind: str, tmp_path: Path) -> None:
    ds = dcmread(written(OBJECTS[kind](received({"PatientID": b"SYN-0001"})), tmp_path))
    for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
        assert ds[keyword].is_empty
    for keyword in ("IssuerOfPatientID", "IssuerOfAccessionNumberSequence", "TimezoneOffsetFromUTC"):
        assert keyword not in ds


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_item_with_a_character_set_of_its_own_keeps_its_letters(kind: str, tmp_path: Path) -> None:
    """PS3.3 C.12.1.1.2: an item may name another set: a broker's code in a scanner's header does."""
    code = {"CodeValue": b"MRM", "CodingSchemeDesignator": b"99SITE"}
    own = item(code | {"SpecificCharacterSet": b"ISO_IR 144", "CodeMeaning": "МРТ молочных желёз".encode("iso8859-5")})
    outer = item(code | {"CodeMeaning": b"\x1b$BF}A#\x1b(BMRI"})
    japanese = header(SCRIPTS["Japanese"])
    ds = dcmread(written(OBJECTS[kind](received(japanese | {"ProcedureCodeSequence": own + outer})), tmp_path))
    assert [code.CodeMeaning for code in ds.ProcedureCodeSequence] == ["МРТ молочных желёз", "乳腺MRI"]


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_text_against_its_character_set_stops_nothing(kind: str, tmp_path: Path) -> None:
    """Scanners do write Latin-1 and say UTF-8, or name a set that does not exist. What can be read is kept."""
    for charset in (b"ISO_IR 192", b"ISO_IR 999"):
        image = header(SCRIPTS["Latin-1"]) | {"SpecificCharacterSet": charset}
        path = written(OBJECTS[kind](received(image)), tmp_path)
        name = str(dcmread(path).PatientName)
        assert name.startswith("M")
        assert "ller^" in name


def test_latin_1_without_a_character_set_is_read_as_latin_1(tmp_path: Path) -> None:
    """The most frequent slip of old scanners: the letters are there, the attribute is not."""
    image = {**header(SCRIPTS["Latin-1"])}
    del image["SpecificCharacterSet"]
    assert dcmread(written(report(received(image)), tmp_path)).PatientName == "Müller^Änne^^Dr."


def test_words_of_the_images_stand_in_the_report_in_their_script(tmp_path: Path) -> None:
    """The report names the series that were used, as the scanner named them."""
    used = replace(fixtures.USED[0], description="乳腺 造影 ダイナミック")
    document = fixtures.findings(used=(used, *fixtures.USED[1:]))
    source = received(header(SCRIPTS["Japanese"]))
    ds = structured_report.build(document, source, fixtures.evidence(source), fixtures.identity(document), VOCABULARY)
    assert "乳腺 造影 ダイナミック".encode() in written(ds, tmp_path).read_bytes()
