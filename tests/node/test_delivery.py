"""Sending: one outcome per object and words that help, against Orthanc, DCMTK and pynetdicom as receivers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from mome_node.delivery.storage_scu import echo, send
from mome_node.errors import DeliveryError, UnreadableDicom
from mome_node.settings import Destination

from . import peers
from .peers import NODE, PACS, SCANNER, Orthanc, ReceiverProcess, free_port, mr_files, mr_image, save, wait_until

pytestmark = pytest.mark.system


def to(port: int, **changes: Any) -> Destination:
    usual = {"name": "pacs", "ae_title": PACS, "host": "127.0.0.1", "port": port, "answer_timeout_s": 3}
    return Destination(**{**usual, **changes})


@contextmanager
def odd_pacs(
    store: Callable[[Event], int | Dataset] = lambda event: 0,
    classes: tuple[str, ...] = (MRImageStorage,),
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian,),
    **features: Any,
) -> Iterator[int]:
    """A PACS that answers as it is told to; yields its port."""
    ae = AE(ae_title=PACS)
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    for feature, value in features.items():
        setattr(ae, feature, value)
    server = ae.make_server(
        ("127.0.0.1", 0), evt_handlers=[(evt.EVT_C_STORE, store)], server_class=ThreadedAssociationServer
    )
    ae._servers.append(server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def answering(status: int, comment: str = "") -> Callable[[Event], Dataset]:
    def store(event: Event) -> Dataset:
        answer = Dataset()
        answer.Status = status
        if comment:
            answer.ErrorComment = comment
        return answer

    return store


# ------------------------------------------------------------------ real receivers
def test_orthanc_has_what_was_sent(orthanc: Orthanc, tmp_path: Path) -> None:
    """The PACS that integrators test against, asked through its REST interface."""
    study = generate_uid()
    paths = mr_files(tmp_path, 3, study=study)
    outcomes = send(to(orthanc.dicom_port), paths, NODE)
    assert [(one.path, one.sent, one.words) for one in outcomes] == [(path, True, "") for path in paths]
    found = orthanc.post("/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True})
    stored = {instance["MainDicomTags"]["SOPInstanceUID"] for instance in found}
    assert stored == {dcmread(path).SOPInstanceUID for path in paths}


def test_dcmtk_gets_the_bytes_as_they_are(tmp_path: Path) -> None:
    """The data set on the wire is the file's; compressed and uncompressed in one association."""
    plain = mr_image(size=64)
    packed = mr_image(size=64, study=plain.StudyInstanceUID)
    packed.compress(JPEG2000Lossless)
    paths = [save(plain, tmp_path / "plain.dcm"), save(packed, tmp_path / "packed.dcm")]
    with peers.storescp(tmp_path / "pacs", "+xa", "-uf") as port:
        assert all(one.sent for one in send(to(port), paths, NODE))
        stored = wait_until("both files", lambda: len(f := list((tmp_path / "pacs").iterdir())) == 2 and f)
    assert {dcmread(path).SOPInstanceUID: dcmread(path).PixelData for path in stored} == {
        plain.SOPInstanceUID: plain.PixelData,
        packed.SOPInstanceUID: packed.PixelData,
    }


def test_a_node_can_send_to_a_node(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """Both ends are ours here: what one sends, the other acknowledges."""
    paths = mr_files(tmp_path, 2)
    assert all(one.sent for one in send(to(receiver.port, ae_title=NODE), paths, SCANNER))


def test_echo_succeeds_where_the_pacs_knows_us(orthanc: Orthanc) -> None:
    """`mome-node check` asks every destination once."""
    echo(to(orthanc.dicom_port), NODE)


# ------------------------------------------------------------------ one object is refused
@pytest.mark.parametrize(
    ("status", "sent", "final"),
    [
        (0x0000, True, False),
        (0xB000, True, False),
        (0xB007, True, False),
        (0x0111, True, False),
        (0x0110, False, False),
        (0xA700, False, False),
        (0x0124, False, True),
        (0xA900, False, True),
        (0xC000, False, True),
        (0xC123, False, True),
    ],
    ids=lambda value: f"{value:04X}" if type(value) is int else str(value),
)
def test_a_status_says_whether_it_was_taken_and_whether_to_try_again(
    tmp_path: Path, status: int, sent: bool, final: bool
) -> None:
    """A full disk passes, a data set that is not understood will not be understood tomorrow (PS3.4 Table B.2-1)."""
    with odd_pacs(answering(status)) as port:
        (outcome,) = send(to(port), mr_files(tmp_path, 1), NODE)
    assert (outcome.status, outcome.sent, outcome.final) == (status, sent, final)
    assert (outcome.words == "") is (status == 0)


def test_the_words_of_the_pacs_are_passed_on(tmp_path: Path) -> None:
    """Its error comment is often the only hint that there is."""
    with odd_pacs(answering(0xC000, "patient unknown in RIS")) as port:
        (outcome,) = send(to(port), mr_files(tmp_path, 1), NODE)
    assert "C000" in outcome.words
    assert "patient unknown in RIS" in outcome.words


def test_a_class_that_the_pacs_does_not_take_fails_alone(tmp_path: Path) -> None:
    """Many an older PACS does not know 3D reports: the picture arrives all the same, and the words name the class."""
    report = save(mr_image(SOPClassUID=Comprehensive3DSRStorage, PixelData=None), tmp_path / "report.dcm")
    image = save(mr_image(), tmp_path / "image.dcm")
    with odd_pacs() as port:
        refused, taken = send(to(port), [report, image], NODE)
    assert taken.sent
    assert (refused.sent, refused.final) == (False, True)
    assert Comprehensive3DSRStorage in refused.words


def test_a_compression_that_the_pacs_does_not_take_is_final(tmp_path: Path) -> None:
    packed = mr_image(size=64)
    packed.compress(JPEG2000Lossless)
    paths = [save(packed, tmp_path / "packed.dcm"), save(mr_image(), tmp_path / "plain.dcm")]
    with odd_pacs() as port:
        refused, taken = send(to(port), paths, NODE)
    assert (refused.sent, refused.final, taken.sent) == (False, True, True)
    assert JPEG2000Lossless in refused.words


def test_a_break_in_the_middle_leaves_the_rest_to_be_tried_again(tmp_path: Path) -> None:
    """Each object has its own outcome, so that nothing is sent twice without need and nothing is forgotten."""
    count = iter(range(10))

    def store(event: Event) -> int:
        if next(count) == 1:
            event.assoc.abort()
        return 0

    with odd_pacs(store) as port:
        outcomes = send(to(port), mr_files(tmp_path, 4), NODE)
    assert [one.sent for one in outcomes] == [True, False, False, False]
    assert not any(one.final for one in outcomes)
    assert all("tried again" in one.words for one in outcomes[1:])


def test_a_silent_pacs_costs_one_time_out(tmp_path: Path) -> None:
    """Not one per object: the association is given up with the first."""
    asleep = threading.Event()

    def store(event: Event) -> int:
        asleep.wait(10)
        return 0

    with odd_pacs(store) as port:
        outcomes = send(to(port, answer_timeout_s=1), mr_files(tmp_path, 3), NODE)
        asleep.set()
    assert [one.sent for one in outcomes] == [False] * 3
    assert "did not answer within 1 s" in outcomes[0].words


# ------------------------------------------------------------------ no association at all
def test_an_unknown_calling_title_names_what_to_register(tmp_path: Path) -> None:
    with odd_pacs(require_calling_aet=["OTHER"]) as port, pytest.raises(DeliveryError) as caught:
        send(to(port), mr_files(tmp_path, 1), NODE)
    assert "calling AE title MOME not recognised" in caught.value.message
    assert caught.value.remedy.startswith("Register MOME")
    assert not caught.value.final, "it works as soon as someone registers the title"


def test_a_wrong_called_title_names_the_setting(tmp_path: Path) -> None:
    with odd_pacs(require_called_aet=True) as port, pytest.raises(DeliveryError, match="ae_title") as caught:
        send(to(port, ae_title="TYPO"), mr_files(tmp_path, 1), NODE)
    assert "'TYPO'" in caught.value.remedy


def test_a_pacs_that_is_down_is_said_to_be_down(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="Nothing listens"):
        send(to(free_port()), mr_files(tmp_path, 1), NODE)


def test_an_unknown_host_is_said_to_be_unknown() -> None:
    with pytest.raises(DeliveryError, match=r"name 'no-such-host\.invalid' is unknown"):
        echo(to(104, host="no-such-host.invalid"), NODE)


def test_a_port_that_accepts_and_says_nothing_is_no_pacs() -> None:
    """A firewall or a web server on the configured port; the attempt ends at the time-out."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(DeliveryError, match="agreed to no association"),
    ):
        echo(to(silent.getsockname()[1], answer_timeout_s=1), NODE)


def test_a_pacs_that_takes_nothing_of_ours_says_which_classes(tmp_path: Path) -> None:
    """And that it is for the class alone: another class of the same result may do."""
    with odd_pacs(classes=(SecondaryCaptureImageStorage,)) as port:
        (refused,) = send(to(port), mr_files(tmp_path, 1), NODE)
    assert not refused.sent
    assert refused.final
    assert refused.class_refused
    assert MRImageStorage in refused.words


def test_a_file_that_is_no_object_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "report.dcm").write_text("not DICOM")
    with pytest.raises(UnreadableDicom, match=r"report\.dcm"):
        send(to(1), [tmp_path / "report.dcm"], NODE)
