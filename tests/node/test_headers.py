"""Files to headers: what a PACS really sends, and that no file ends in a traceback."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from mome_node.analysis import elements, headers

MR = "1.2.840.10008.5.1.4.1.1.4"


def mr_image(**attributes: object) -> Dataset:
    """A small MR image."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = MR, "1.2.1", "1.2.2", "1.2.3"
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber = "MR", "t2", 4
    ds.Rows = ds.Columns = 4
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.PixelData = bytes(32)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def as_bytes(ds: Dataset, *, preamble: bool = True) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if preamble:
            pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
        else:
            bare = Dataset(ds)
            pydicom.dcmwrite(buffer, bare, enforce_file_format=False, implicit_vr=True, little_endian=True)
    return buffer.getvalue()


def reason(folder: Path, content: bytes, name: str = "a.dcm") -> str:
    """Why a file is unusable."""
    (folder / name).write_bytes(content)
    studies, unusable = headers.read_folder(folder)
    assert studies == []
    assert [item.path.name for item in unusable] == [name]
    return unusable[0].reason


def read(folder: Path, *datasets: Dataset) -> list:
    for n, ds in enumerate(datasets):
        (folder / f"{n}.dcm").write_bytes(as_bytes(ds))
    studies, unusable = headers.read_folder(folder)
    assert unusable == []
    return studies


# ------------------------------------------------------------------ what is read
def test_attributes_are_plain_values(tmp_path: Path) -> None:
    """Stages hand on JSON-like data: no DICOM type, no empty element, no pixels."""
    (study,) = read(tmp_path, mr_image(EchoTime="90.5", ImageType=["ORIGINAL", "PRIMARY"], ProtocolName=""))
    attributes = study.instances[0].attributes
    assert (attributes["EchoTime"], attributes["SeriesNumber"]) == (90.5, 4)
    assert attributes["ImageType"] == ["ORIGINAL", "PRIMARY"]
    assert "ProtocolName" not in attributes
    assert {type(v) for v in attributes.values()} <= {str, int, float, list}


def test_one_value_that_is_no_number_loses_no_image(tmp_path: Path) -> None:
    """Everything else of the object is as good as before."""
    (tmp_path / "a.dcm").write_bytes(as_bytes(mr_image(EchoTime="90.5")).replace(b"90.5", b"9x.5"))
    (study,), unusable = headers.read_folder(tmp_path)
    assert unusable == []
    assert study.instances[0].attributes["SeriesNumber"] == 4


def test_private_b_values_are_known_by_their_creator_in_any_block(tmp_path: Path) -> None:
    """A PACS may move a private block; the same element of another creator is no b-value."""
    moved, foreign = mr_image(SOPInstanceUID="1.2.11"), mr_image(SOPInstanceUID="1.2.12")
    moved.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", 800)
    foreign.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0C, "IS", 800)
    first = mr_image(SOPInstanceUID="1.2.10")
    first.private_block(0x0019, "OCCUPIES THE FIRST BLOCK", create=True).add_new(0x01, "IS", 1)
    first.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", 50)
    (study,) = read(tmp_path, moved, foreign, first)
    assert [i.attributes.get("SiemensBValue") for i in study.instances] == [50, 800, None]


def test_private_numbers_survive_an_implicit_transfer_syntax(tmp_path: Path) -> None:
    """Implicit VR loses the type of private elements: the value arrives as bytes."""
    ds = mr_image()
    ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "UN", b"1000000800\\8\\0\\0")
    ds.private_block(0x0065, "Image Private Header", create=True).add_new(0x0A, "UN", struct.pack("<d", 1000.0))
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    (study,) = read(tmp_path, ds)
    assert int(study.instances[0].attributes["GEBValue"][0]) == 1_000_000_800
    assert study.instances[0].attributes["UIHNominalBValue"] == 1000.0


def test_private_floats_survive_an_implicit_transfer_syntax(tmp_path: Path) -> None:
    """Philips writes b as a binary float of four bytes, and its creator in two spellings."""
    ds = mr_image()
    ds.private_block(0x2001, "PHILIPS IMAGING DD 001", create=True).add_new(0x03, "UN", struct.pack("<f", 800.0))
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    (study,) = read(tmp_path, ds)
    assert study.instances[0].attributes["PhilipsBValue"] == 800.0


def test_a_private_block_that_cannot_be_read_loses_no_image(tmp_path: Path) -> None:
    """A creator that is no text, a value that is no number, a CSA header of garbage: all of them are left out."""
    ds = mr_image()
    for element, vr, value in ((0x00190010, "UN", b"\xff\xfe\x80"), (0x0019100C, "UN", b"\x80")):
        ds.add_new(element, vr, value)
    ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "UN", b"\xff\xff\xff")
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"SV10B_value\0" + b"\xff" * 90)
    (study,) = read(tmp_path, ds)
    found = study.instances[0].attributes
    assert (found["SeriesNumber"], found.get("SiemensBValue"), found.get("SiemensCSABValue")) == (4, None, None)


def test_of_several_blocks_of_one_creator_the_first_with_a_value_counts(tmp_path: Path) -> None:
    """Archives double private blocks: creator and elements stand there again, once empty."""
    ds = mr_image()
    for block, value in ((0x10, None), (0x11, 400), (0x13, 900)):
        ds.add_new((0x0019, block), "LO", "SIEMENS MR HEADER")
        ds.add_new((0x0019, block << 8 | 0x0C), "IS", value)
    ds.add_new((0x0019, 0x140C), "IS", 700)  # of no creator
    (study,) = read(tmp_path, ds)
    assert study.instances[0].attributes["SiemensBValue"] == 400


def csa_header(**entries: str) -> bytes:
    """A Siemens CSA image header of these entries, each with one item."""
    parts = [b"SV10\4\3\2\1", struct.pack("<2I", len(entries), 77)]
    for name, text in entries.items():
        parts += [struct.pack("<64si4s3i", name.encode(), 1, b"IS", 6, 6, 77)]
        parts += [
            struct.pack("<4i", *[len(text)] * 2, 77, len(text)),
            text.encode().ljust((len(text) + 3) // 4 * 4, b"\0"),
        ]
    return b"".join(parts)


@pytest.mark.parametrize(
    "damage", [lambda h: h, lambda h: h[:150], lambda h: h.replace(b"800", b"8x0"), lambda h: h[4:]]
)
def test_a_b_value_that_stands_in_the_csa_header_only(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """De-identification may remove (0019,100C) only; a damaged header gives no value, and no traceback."""
    header = csa_header(EchoLinePosition="96", B_value="800         ", NumberOfImagesInMosaic="")
    ds = mr_image()
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", damage(header))
    (study,) = read(tmp_path, ds)
    assert study.instances[0].attributes.get("SiemensCSABValue") == (800 if damage(header) == header else None)


def test_what_is_no_number_stays_text(tmp_path: Path) -> None:
    """A rescale slope that is lost without a word would be taken for 1: later stages must see that one was there."""
    content = as_bytes(mr_image(RescaleSlope="2.55", RescaleIntercept="0"))
    (tmp_path / "a.dcm").write_bytes(content.replace(b"2.55", b"2,55"))
    (study,), _ = headers.read_folder(tmp_path)
    assert study.instances[0].attributes["RescaleSlope"] == "2,55"


def test_a_code_with_a_character_set_of_its_own(tmp_path: Path) -> None:
    """Archives add a procedure code in theirs; the object's own is another."""
    item = Dataset()
    item.SpecificCharacterSet, item.CodeMeaning = "ISO_IR 192", "MRT Brüste"
    ds = mr_image(SpecificCharacterSet="ISO_IR 100", SeriesDescription="spät", ProcedureCodeSequence=Sequence([item]))
    (study,) = read(tmp_path, ds)
    assert study.instances[0].attributes["ProcedureCode"] == "MRT Brüste"
    assert study.instances[0].attributes["SeriesDescription"] == "spät"


@pytest.mark.parametrize(
    ("charset", "text"),
    [("GB18030", "乳腺平扫"), ("ISO_IR 192", "脂肪抑制T1強調"), ("ISO_IR 100", "spät"), ("ISO_IR 144", "молочная")],
)
def test_descriptions_are_decoded_through_their_character_set(tmp_path: Path, charset: str, text: str) -> None:
    (study,) = read(tmp_path, mr_image(SpecificCharacterSet=charset, SeriesDescription=text))
    assert study.instances[0].attributes["SeriesDescription"] == text


def test_an_unknown_character_set_loses_no_image(tmp_path: Path) -> None:
    """The text may be wrong; the image is not."""
    (study,) = read(tmp_path, mr_image(SpecificCharacterSet="ISO_IR 999", SeriesDescription="t2"))
    assert study.instances[0].attributes["SeriesDescription"] == "t2"


def test_functional_groups_become_attributes_of_each_frame(tmp_path: Path) -> None:
    """Shared ones stand with the object; an empty b-value in a nested sequence does not hide the one above it."""

    def item(**attributes: object) -> Dataset:
        ds = Dataset()
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        return ds

    frames = [
        item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, z])]),
            MRDiffusionSequence=Sequence(
                [item(DiffusionBValue=800.0, DiffusionBMatrixSequence=Sequence([item(DiffusionBValue=None)]))]
            ),
        )
        for z in (1, 2)
    ]
    timing = item(RepetitionTime=5.0)
    ds = mr_image(
        SOPClassUID=f"{MR}.1",
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=Sequence([item(MRTimingAndRelatedParametersSequence=Sequence([timing]))]),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
    )
    ds.PixelData = bytes(64)
    (study,) = read(tmp_path, ds)
    assert study.instances[0].attributes["RepetitionTime"] == 5.0
    assert [frame["ImagePositionPatient"][2] for frame in study.instances[0].frames] == [1.0, 2.0]
    assert [frame["DiffusionBValue"] for frame in study.instances[0].frames] == [800.0, 800.0]


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_real_encodings_are_read(name: str) -> None:
    """pydicom's own samples: little and big endian, compressed."""
    studies, unusable = headers.read_files([Path(str(get_testdata_file(name)))])
    assert unusable == []
    assert studies[0].instances[0].attributes["Modality"] == "MR"


def test_a_data_set_without_preamble_is_read(tmp_path: Path) -> None:
    """Old software writes the bare data set."""
    (tmp_path / "image").write_bytes(as_bytes(mr_image(), preamble=False))
    studies, unusable = headers.read_folder(tmp_path)
    assert (len(studies), unusable) == (1, [])


def test_a_deflated_data_set_is_read(tmp_path: Path) -> None:
    ds = mr_image()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert len(read(tmp_path, ds)) == 1


def test_studies_and_instances_come_in_order_of_their_uids(tmp_path: Path) -> None:
    parts = [mr_image(SOPInstanceUID=f"1.2.{n}", StudyInstanceUID=f"1.3.{n % 2}") for n in (3, 1, 2)]
    studies = read(tmp_path, *parts)
    assert [s.study_instance_uid for s in studies] == ["1.3.0", "1.3.1"]
    assert [i.sop_instance_uid for i in studies[1].instances] == ["1.2.1", "1.2.3"]


def test_a_study_survives_its_file(tmp_path: Path) -> None:
    """The headers are kept in the work folder: every later stage reads them from there."""
    (study,) = read(tmp_path, mr_image(PatientName="Ä^Ö", SpecificCharacterSet="ISO_IR 100", EchoTime="1.5"))
    framed = replace(study.instances[0], frames=({"ImagePositionPatient": [0.0, 1.0, 2.0]},))
    for kept in (study, replace(study, instances=(framed,))):
        assert headers.from_json(headers.to_json(kept)) == kept


# ------------------------------------------------------------------ what cannot be read
def test_every_bad_file_has_its_reason(tmp_path: Path) -> None:
    """The sender is told what is wrong with each file, in words, not that "an error occurred"."""
    whole = as_bytes(mr_image())
    assert "empty" in reason(tmp_path, b"")
    assert "Not a DICOM file" in reason(tmp_path, b"%PDF-1.7 something else" * 20)
    assert "cut short" in reason(tmp_path, whole[:-10])
    assert "cut short" in reason(tmp_path, whole[:300])
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        content = as_bytes(mr_image()).replace(getattr(mr_image(), keyword).encode(), b"1.x.3")
        assert f"{keyword} is not a valid UID" in reason(tmp_path, content)
    missing = mr_image()
    del missing.StudyInstanceUID
    assert "StudyInstanceUID is missing" in reason(tmp_path, as_bytes(missing))


def test_deep_nesting_is_no_traceback(tmp_path: Path) -> None:
    """A hostile or broken file may nest sequences until the parser gives up."""
    buffer = DicomBytesIO(as_bytes(mr_image())[:-44])
    buffer.seek(0, io.SEEK_END)
    buffer.write(b"\x40\x00\x30\xa7SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000)
    (tmp_path / "a.dcm").write_bytes(buffer.getvalue())
    studies, unusable = headers.read_folder(tmp_path)
    assert studies == []
    assert unusable[0].reason


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2_000), st.binary(min_size=1, max_size=8))
def test_no_damage_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, where: int, damage: bytes) -> None:
    """Bytes overwritten anywhere: the file is read or has a reason."""
    file = tmp_path_factory.mktemp("damaged") / "a.dcm"
    content = bytearray(as_bytes(mr_image(ImageType=["ORIGINAL", "PRIMARY"], PixelSpacing=[1, 1])))
    where %= len(content)
    content[where : where + len(damage)] = damage
    file.write_bytes(content)
    studies, unusable = headers.read_files([file])
    assert len(studies) + len(unusable) == 1


def test_files_that_are_not_dicom_are_passed_over_unless_named_so(tmp_path: Path) -> None:
    """A folder from a CD holds viewers, read-me files and a DICOMDIR; none of these is worth a complaint."""
    (tmp_path / "README.txt").write_text("hello")
    (tmp_path / "viewer.exe").write_bytes(b"MZ")
    (tmp_path / "DICOMDIR").write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    (tmp_path / "nested" / "deep").mkdir(parents=True)
    (tmp_path / "nested" / "deep" / "i184.MRDC.23").write_bytes(as_bytes(mr_image()))
    studies, unusable = headers.read_folder(tmp_path)
    assert (len(studies), unusable) == (1, [])
    (tmp_path / "broken.dcm").write_text("hello")
    assert [item.path.name for item in headers.read_folder(tmp_path)[1]] == ["broken.dcm"]


# ------------------------------------------------------------------ one object twice
def test_an_object_that_came_twice_is_kept_once(tmp_path: Path) -> None:
    """Sent again after a time-out, by another sender or compressed without loss: the data set is the same."""
    again = mr_image()
    again.file_meta.SourceApplicationEntityTitle = "OTHER"
    compressed = mr_image()
    compressed.compress(RLELossless, generate_instance_uid=False)
    (study,) = read(tmp_path, mr_image(), again, compressed)
    assert len(study.instances) == 1


def test_two_contents_under_one_uid_are_made_known(tmp_path: Path) -> None:
    """One of them is wrong, and only the sender knows which: the first by path is kept, both are named."""
    (tmp_path / "a.dcm").write_bytes(as_bytes(mr_image(EchoTime="1")))
    (tmp_path / "b.dcm").write_bytes(as_bytes(mr_image(EchoTime="2")))
    (study,), (conflict,) = headers.read_folder(tmp_path)
    assert study.instances[0].attributes["EchoTime"] == 1.0
    assert conflict.path.name == "b.dcm"
    assert "1.2.1" in conflict.reason and "a.dcm" in conflict.reason and "b.dcm" in conflict.reason


# ------------------------------------------------------------------ headers that are read while a study still comes
def several(folder: Path) -> list[Path]:
    """Files of every sort: images, one cut short, one that is no DICOM, one that is empty."""
    contents = {f"{n}.dcm": as_bytes(mr_image(SOPInstanceUID=f"1.2.1.{n}", EchoTime="90.5")) for n in range(4)}
    contents |= {"short.dcm": contents["0.dcm"][:-20], "other.dcm": b"no DICOM", "empty.dcm": b""}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def document(paths: list[Path], records: Path | None = None) -> tuple[list[str], list]:
    studies, unusable = headers.read_files(paths, records)
    return [headers.to_json(study) for study in studies], unusable


def test_a_study_read_ahead_is_the_same_to_the_byte(tmp_path: Path) -> None:
    """What the analysis sees must not depend on who read the files, nor on when: results carry its hash."""
    paths, records = several(tmp_path), tmp_path / "headers.jsonl"
    assert headers.read_ahead(paths[:2], records) == 2
    assert headers.read_ahead(paths, records) == len(paths) - 2
    assert document(paths, records) == document(paths)
    assert document(paths[:1], records) == document(paths[:1])  # a record of a file that is not asked for is no image


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of thousands of images is looked at again and again while it comes."""
    paths, records = several(tmp_path), tmp_path / "headers.jsonl"
    headers.read_ahead(paths, records)
    expected = document(paths)
    monkeypatch.setattr(headers, "_read", lambda path: pytest.fail(f"{path} is read again"))
    assert headers.read_ahead(paths, records) == 0
    assert document(paths, records) == expected


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    """Its record is that of other content."""
    paths, records = several(tmp_path), tmp_path / "headers.jsonl"
    headers.read_ahead(paths, records)
    paths[0].write_bytes(as_bytes(mr_image(SOPInstanceUID="1.2.1.0", EchoTime="104.5")))
    (study,), _ = headers.read_files(paths, records)
    assert study.instances[0].attributes["EchoTime"] == 104.5


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_line_torn_by_a_crash_costs_that_line(tmp_path: Path, kept: float) -> None:
    """What is added after it begins on a line of its own."""
    paths, records = several(tmp_path), tmp_path / "headers.jsonl"
    headers.read_ahead(paths[:3], records)
    whole = records.read_bytes()
    last = whole.rindex(b"\n")
    records.write_bytes(whole[: last + 1 + int(kept * (len(whole) - last))])
    headers.read_ahead(paths, records)
    assert document(paths, records) == document(paths)


def test_records_follow_their_folder(tmp_path: Path) -> None:
    """A state folder that was moved or restored keeps what was read."""
    paths, records = several(tmp_path), tmp_path / "headers.jsonl"
    headers.read_ahead(paths, records)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert headers.read_ahead([moved / path.name for path in paths], moved / records.name) == 0
    (study,), _ = headers.read_files([moved / path.name for path in paths], moved / records.name)
    assert study.instances[0].path.exists()


def test_a_file_that_cannot_be_read_now_may_be_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs, or no file descriptor left: nothing is recorded."""
    paths, records = several(tmp_path), tmp_path / "headers.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(headers, "_instance", lambda *_: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        assert headers.read_ahead(paths[:2], records) == 0
    assert headers.read_ahead([*paths[:2], tmp_path / "absent.dcm"], records) == 2


# ------------------------------------------------------------------ frames of multi-frame objects
def multi_frame(frames: int = 5) -> Dataset:
    """An Enhanced MR object whose frames differ in position, time and b-value."""
    ds = mr_image(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", NumberOfFrames=frames)

    def group(**attributes: object) -> Sequence:
        inner = Dataset()
        for keyword, value in attributes.items():
            setattr(inner, keyword, value)
        return Sequence([inner])

    ds.SharedFunctionalGroupsSequence = group(PixelMeasuresSequence=group(PixelSpacing=[1.5, 1.5], SliceThickness=2))
    items = []
    for n in range(frames):
        item = Dataset()
        item.PlanePositionSequence = group(ImagePositionPatient=[-170.5, -170.5, 2.0 * n])
        item.FrameContentSequence = group(FrameAcquisitionDateTime=f"2026010110000{n}", DimensionIndexValues=[1, n + 1])
        item.MRDiffusionSequence = group(
            DiffusionBValue=800.0,
            DiffusionGradientDirectionSequence=group(DiffusionGradientOrientation=[1.0, 0.0, 0.0]),
        )
        item.FrameAnatomySequence = group(
            AnatomicRegionSequence=group(SpecificCharacterSet="ISO_IR 192", CodeValue="T-04000", CodeMeaning="乳房")
        )
        item.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
        item.add_new(0x0019100C, "IS", "800")
        items.append(item)
    ds.PerFrameFunctionalGroupsSequence = Sequence(items)
    ds.PixelData = bytes(32 * frames)
    return ds


def undefined_lengths(ds: Dataset) -> Dataset:
    """The same with sequences and items that end at a delimiter, as some scanners write them."""
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                undefined_lengths(item)
    return ds


def with_syntax(ds: Dataset, syntax: str) -> Dataset:
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


ENCODINGS: dict[str, Callable[[Dataset], Dataset]] = {
    "explicit": lambda ds: ds,
    "implicit": lambda ds: with_syntax(ds, ImplicitVRLittleEndian),
    "big endian": lambda ds: with_syntax(ds, ExplicitVRBigEndian),
    "undefined lengths": undefined_lengths,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_frames_are_the_same_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    """Functional groups are cut from their bytes where their lengths are stated, and left to pydicom elsewhere."""
    (study,) = read(tmp_path, ENCODINGS[encoding](multi_frame()))
    frames = study.instances[0].frames
    assert [frame["ImagePositionPatient"] for frame in frames] == [[-170.5, -170.5, 2.0 * n] for n in range(5)]
    assert [frame["FrameAcquisitionDateTime"][-1] for frame in frames] == list("01234")
    assert frames[2]["DimensionIndexValues"] == [1, 3]
    assert frames[2]["DiffusionGradientOrientation"] == [1.0, 0.0, 0.0]
    assert (frames[2]["DiffusionBValue"], frames[2]["SiemensBValue"]) == (800.0, 800)
    assert frames[2]["AnatomicRegion"] == "乳房"  # its item states a character set of its own
    assert study.instances[0].attributes["PixelSpacing"] == [1.5, 1.5]


def test_frames_cost_no_data_set_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dynamic in one object has a thousand frames of eight groups each; as data sets they take four times as long."""
    monkeypatch.setattr(elements, "convert_raw_data_element", lambda *_, **__: pytest.fail("pydicom reads a sequence"))
    (study,) = read(tmp_path, multi_frame())
    assert len(study.instances[0].frames) == 5


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_broken_sequence_costs_no_more_than_itself(tmp_path: Path, cut: int) -> None:
    """A length that points beyond the sequence: whatever can still be read is, and nothing raises."""
    content = bytearray(as_bytes(multi_frame()))
    at = content.index(b"\x20\x00\x13\x91SQ")  # plane position of the first frame
    content[at + 8] += cut
    (tmp_path / "a.dcm").write_bytes(bytes(content))
    (study,), unusable = headers.read_folder(tmp_path)
    assert unusable == []
    assert study.instances[0].attributes["SeriesNumber"] == 4
