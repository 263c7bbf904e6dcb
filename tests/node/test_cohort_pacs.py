"""Studies fetched from a PACS: from Orthanc by C-GET, and by C-MOVE where it allows no C-GET; one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEGLosslessSV1, generate_uid

from mome import node_cohort
from mome_node import cohort as making
from mome_node.cohort import pacs as pacs_module
from mome_node.cohort.pacs import MoveTo, Pacs
from mome_node.cohort.source import RetrievalIncomplete
from mome_node.cohort.table import AtHand, Row
from mome_node.errors import DeliveryError, NodeError
from mome_node.settings import Destination, Model, Receiver, Settings
from tests.node import peers
from tests.node.peers import Orthanc

pytestmark = pytest.mark.system

MOVER = "MOVER"  # a title that Orthanc allows no C-GET


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, int]]:
    """An Orthanc that knows us by two titles, and the port to which it moves."""
    port = peers.free_port()
    known = {
        "node": [peers.NODE, "127.0.0.1", 1],
        "mover": {"AET": MOVER, "Host": "127.0.0.1", "Port": port, "AllowGet": False},
    }
    with peers.orthanc(tmp_path_factory.mktemp("archive"), DicomModalities=known) as running:
        yield running, port


def stored(archive: Orthanc, folder: Path, count: int = 6, *, compressed: bool = False) -> AtHand:
    study, patient, accession = generate_uid(), "P-1", generate_uid()[-12:]
    given = {"study": study, "PatientID": patient, "AccessionNumber": accession}
    paths = peers.mr_files(folder, count, size=24, **given)
    for path in [squeezed(path) for path in paths] if compressed else paths:
        archive.post("/instances", path.read_bytes())
    return AtHand(study, patient, accession, str(count))


def squeezed(path: Path) -> Path:
    made = path.with_suffix(".jpeg")
    peers.dcmtk("dcmcjpeg", path, made)
    assert pydicom.dcmread(made, stop_before_pixels=True).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return made


def asked(archive: tuple[Orthanc, int], title: str = peers.NODE, per_hour: float = 1e6) -> Pacs:
    orthanc, port = archive
    pacs = Destination(name="pacs", ae_title=peers.PACS, host="127.0.0.1", port=orthanc.dicom_port)
    return Pacs(pacs, Receiver(ae_title=title), per_hour=per_hour, move_to=MoveTo(title, "127.0.0.1", port))


def of(study: AtHand, line: int = 2) -> Row:
    return Row(line, study.study, "", "", {})


def test_a_pacs_is_asked_only_for_what_the_table_names(archive: tuple[Orthanc, int], tmp_path: Path) -> None:
    """By UID or by accession number; what it does not know is not there."""
    one, other, _ = (stored(archive[0], tmp_path / name) for name in "abc")
    rows = [of(one), Row(3, "", other.accession, "", {}), Row(4, "1.2.3", "", "", {}), Row(5, "", "NONE", "", {})]
    assert asked(archive).at_hand(rows) == sorted([one, other], key=lambda study: study.study)


@pytest.mark.parametrize("title", [peers.NODE, MOVER])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_study_comes_whole_and_goes_when_it_was_read(
    archive: tuple[Orthanc, int], tmp_path: Path, title: str, compressed: bool
) -> None:
    """By C-GET, and by C-MOVE where that is not allowed; compressed images come as they are stored, or readable."""
    study = stored(archive[0], tmp_path / "sent", compressed=compressed)
    with asked(archive, title).images(study, tmp_path / "scratch") as files:
        read = {str(ds.SOPInstanceUID): ds.pixel_array.tolist() for ds in map(pydicom.dcmread, files)}
    sent = map(pydicom.dcmread, (tmp_path / "sent").glob("*.dcm"))
    assert read == {str(ds.SOPInstanceUID): ds.pixel_array.tolist() for ds in sent}
    assert list((tmp_path / "scratch").iterdir()) == []


def test_c_move_is_asked_for_only_where_c_get_is_not_offered(
    archive: tuple[Orthanc, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C-GET needs no port of ours and no entry on the PACS."""
    study = stored(archive[0], tmp_path / "sent")
    moved: list[str] = []
    monkeypatch.setattr(Pacs, "_move", lambda self, uid, inbox: moved.append(uid) or 1)
    with asked(archive).images(study, tmp_path / "scratch") as files:
        assert len(files) == 6
    assert moved == []
    with pytest.raises(RetrievalIncomplete), asked(archive, MOVER).images(study, tmp_path / "scratch"):
        pytest.fail("nothing came")
    assert set(moved) == {study.study}


def test_a_study_that_does_not_come_whole_is_not_used(
    archive: tuple[Orthanc, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dynamic that lacks a phase would look like another exam."""
    study = stored(archive[0], tmp_path / "sent")
    store = pacs_module._Inbox.store

    def fourth_fails(self: pacs_module._Inbox, event: object) -> int:
        return 0xA700 if len(self.files) == 3 else store(self, event)

    monkeypatch.setattr(pacs_module._Inbox, "store", fourth_fails)
    with pytest.raises(RetrievalIncomplete), asked(archive).images(study, tmp_path / "scratch"):
        pytest.fail("it is not whole")


def test_the_pacs_gets_its_rest_between_two_studies(archive: tuple[Orthanc, int], tmp_path: Path) -> None:
    """3,600 an hour: one a second."""
    one, other, source = (
        stored(archive[0], tmp_path / "a"),
        stored(archive[0], tmp_path / "b"),
        asked(archive, per_hour=3600),
    )
    started = time.monotonic()
    for study in (one, other):
        with source.images(study, tmp_path / "scratch") as files:
            assert files
    assert time.monotonic() - started >= 1


def test_a_pacs_that_is_gone_ends_the_command_and_fails_no_study(tmp_path: Path) -> None:
    """Its nightly maintenance would else reject every study that is left."""
    gone = Destination(name="pacs", ae_title=peers.PACS, host="127.0.0.1", port=peers.free_port())
    source = Pacs(gone, Receiver(), per_hour=1e6, move_to=MoveTo("MOME", "127.0.0.1", 1))
    with pytest.raises(DeliveryError, match="Nothing listens"):
        source.at_hand([Row(2, "1.2.3", "", "", {})])
    with pytest.raises(DeliveryError), source.images(AtHand("1.2.3", "", "", ""), tmp_path):
        pytest.fail("nobody is there")


def test_a_cohort_from_a_pacs_leaves_no_images_behind(archive: tuple[Orthanc, int], tmp_path: Path) -> None:
    """The whole way; these images are no breast MRI, which is the reason that the table gets back."""
    study = stored(archive[0], tmp_path / "sent")
    pacs = Destination(name="archive", ae_title=peers.PACS, host="127.0.0.1", port=archive[0].dicom_port)
    settings = Settings(destinations=(pacs,), receiver=Receiver(ae_title=peers.NODE), model=Model(threads=1))
    source = making.open_source(None, "archive", settings, per_hour=1e6, move_to=None, say=lambda _: None)
    maker, out = node_cohort.load(), tmp_path / "made" / "cohort"
    made = making.make([of(study)], source, out, settings, maker, key=tmp_path / "key", say=lambda _: None)
    assert made.report["flow"]["rejected"] == 1
    assert made.report["source"] == "pacs"
    assert not [path for path in (tmp_path / "made").rglob("*") if path.suffix in (".dcm", ".npz")]
    with pytest.raises(NodeError, match="no destination 'elsewhere'"):
        making.open_source(None, "elsewhere", settings, per_hour=1, move_to=None, say=lambda _: None)
    with pytest.raises(NodeError, match="no TITLE:PORT"):
        making.open_source(None, "archive", settings, per_hour=1, move_to="TITLE", say=lambda _: None)
