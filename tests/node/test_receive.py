"""Receiving: who may send, what is acknowledged, what is refused; against DCMTK and pynetdicom as senders."""

from __future__ import annotations

import hashlib
import io
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.pixels import get_decoder
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, _config, dimse_messages
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from mome_node.ledger import EventKind, Ledger, ResultRecord
from mome_node.receive import storage_scp
from mome_node.receive.spool import IncomingFile, Spool
from mome_node.receive.transport import GuardedServer
from mome_node.settings import Peer

from . import peers
from .peers import NODE, SCANNER, ReceiverProcess, mr_files, mr_image, save, wait_until

pytestmark = pytest.mark.system


def ledger_in(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.sqlite")


def associate(port: int, *, calling: str = SCANNER, syntax: str = ExplicitVRLittleEndian) -> Association:
    """An association of pynetdicom as sender, for what DCMTK would never send."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    for sop_class in (MRImageStorage, SecondaryCaptureImageStorage):
        ae.add_requested_context(sop_class, syntax)
    return ae.associate("127.0.0.1", port, ae_title=NODE)


def encoded(ds: Dataset) -> bytes:
    """The data set as it goes over the network, explicit VR little endian."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, ds)
    return stream.getvalue()


def c_store_fragments(association: Association, data: bytes, *, uid: str, sop_class: str) -> list[P_DATA]:
    """A C-STORE request whose command and data set need not fit together, in fragments of 16 KB."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, "1.2.3"
    request.DataSet = io.BytesIO(data)
    message = dimse_messages.C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set["AffectedSOPInstanceUID"] = DataElement(0x00001000, "UI", uid, validation_mode=IGNORE)
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == sop_class)
    return list(message.encode_msg(context.context_id, 16384))


def store_bytes(
    receiver: ReceiverProcess, data: bytes, *, uid: str = "1.2.3", sop_class: str = MRImageStorage
) -> int | None:
    """The status that a C-STORE of these bytes gets, or None where the association is aborted instead."""
    association = associate(receiver.port)
    association._reactor_checkpoint.clear()
    for fragment in c_store_fragments(association, data, uid=uid, sop_class=sop_class):
        association.dul.send_pdu(fragment)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return None if answer is None else int(answer.Status)


# ------------------------------------------------------------------ who may send
def test_a_known_peer_gets_its_echo(receiver: ReceiverProcess) -> None:
    """The first thing that a PACS administrator tries."""
    assert peers.echoscu(receiver.port).returncode == 0


def test_an_unknown_title_is_refused_and_the_node_says_what_to_configure(
    receiver: ReceiverProcess, tmp_path: Path
) -> None:
    """The refusal on the wire has no room for a reason; the administrator finds it in the log and in the ledger."""
    refused = peers.echoscu(receiver.port, calling="NEWSCANNER")
    assert "Calling AE Title Not Recognized" in refused.stderr + refused.stdout

    (event,) = [e for e in receiver.ledger().events() if e.peer == "NEWSCANNER at 127.0.0.1"]
    assert event.kind is EventKind.ASSOCIATION_REFUSED
    assert '[[peers]] ae_title = "NEWSCANNER", addresses = ["127.0.0.1"]' in event.words
    assert event.words in receiver.log


def test_the_same_refusal_again_is_counted_not_repeated(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """A scanner that was never registered tries every few seconds, for days."""
    for _ in range(3):
        peers.echoscu(receiver.port, calling="FORGOTTEN")
    (event,) = [e for e in receiver.ledger().events() if e.peer == "FORGOTTEN at 127.0.0.1"]
    assert event.times == 3


def test_a_wrong_called_title_is_refused(receiver: ReceiverProcess) -> None:
    """Such a sender means another node; taking its images would be a surprise."""
    refused = peers.echoscu(receiver.port, called="OTHERNODE")
    assert "Called AE Title Not Recognized" in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    ("addresses", "address", "welcome"),
    [
        ((), "10.1.2.3", True),
        (("10.1.2.3",), "10.1.2.3", True),
        (("10.1.0.0/16",), "10.1.2.3", True),
        (("10.1.2.3",), "::ffff:10.1.2.3", True),
        (("localhost",), "127.0.0.1", True),
        (("10.1.2.4", "10.2.0.0/16"), "10.1.2.3", False),
        (("no-such-host.invalid",), "10.1.2.3", False),
    ],
)
def test_a_listed_title_may_call_from_its_addresses_only(
    addresses: tuple[str, ...], address: str, welcome: bool
) -> None:
    """A title alone proves nothing: it is typed into a form on the sender."""
    listed = [Peer(ae_title=SCANNER, addresses=addresses)]
    words, refusal = storage_scp.judge(SCANNER, NODE, address, listed, NODE)
    assert (refusal == ()) is welcome
    assert welcome or address in words


# ------------------------------------------------------------------ what is acknowledged
def test_success_means_file_and_ledger_row(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """An image that was acknowledged is on disk as it was sent, and the ledger knows where."""
    sent = mr_files(tmp_path / "scanner", 5)
    assert peers.dcmsend(receiver.port, sent).returncode == 0
    for path in sent:
        image = dcmread(path)
        record = receiver.ledger().instance(image.SOPInstanceUID)
        assert record is not None
        stored = receiver.spool / record.path
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == record.sha256
        assert dcmread(stored) == image
        assert (record.calling_ae, record.address) == (SCANNER, "127.0.0.1")


def test_the_receiver_loads_neither_the_model_nor_the_engine(tmp_path: Path) -> None:
    """It must go on receiving while these are broken, updated or out of memory."""
    with peers.receiver_process(peers.node_settings(tmp_path / "state")) as receiver:
        assert peers.dcmsend(receiver.port, mr_files(tmp_path / "scanner", 1)).returncode == 0
        assert "heavy: \n" in receiver.stop()


def test_every_acknowledged_image_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL in the middle of sending, three times: nothing acknowledged is lost, nothing half-written is visible."""
    settings = peers.node_settings(tmp_path / "state")
    study, acknowledged = generate_uid(), dict[str, bytes]()
    for kill_at in (5, 17, 41):
        with peers.receiver_process(settings) as receiver:
            association = associate(receiver.port)
            while association.is_established:
                image = mr_image(study=study, size=256, seed=len(acknowledged))
                try:
                    answer = association.send_c_store(image)
                except RuntimeError:
                    break
                if answer.get("Status") == 0:
                    acknowledged[image.SOPInstanceUID] = image.PixelData
                if len(acknowledged) == kill_at:
                    threading.Timer(kill_at * 0.0007, receiver.kill).start()  # somewhere within the next images

    with peers.receiver_process(settings):
        ledger, spool = ledger_in(tmp_path), tmp_path / "state" / "spool"
        records = {record.sop_instance_uid: record for record in ledger.instances(study)}
        assert acknowledged.keys() <= records.keys()
        assert len(records) - len(acknowledged) <= 3, "at most the one in flight of each round was not acknowledged"
        for uid, pixels in acknowledged.items():
            stored = spool / records[uid].path
            assert hashlib.sha256(stored.read_bytes()).hexdigest() == records[uid].sha256
            assert dcmread(stored).PixelData == pixels
        assert {spool / record.path for record in records.values()} == set(Spool(spool).objects())
        assert not list((spool / "incoming" / "receiver-0").iterdir())


def test_an_object_between_file_and_ledger_is_entered_at_the_next_start(tmp_path: Path) -> None:
    """Killed after the rename and before the row: the file is whole, and the ledger learns of it."""
    image = mr_image()
    spool = Spool(tmp_path / "state" / "spool")
    save(image, spool.place(image.SOPInstanceUID))
    with peers.receiver_process(peers.node_settings(tmp_path / "state")):
        record = ledger_in(tmp_path).instance(image.SOPInstanceUID)
    assert record is not None
    assert record.study_instance_uid == image.StudyInstanceUID


def test_the_same_object_twice_is_one_object(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """A sender that missed our answer sends again; that is no news."""
    (path,) = mr_files(tmp_path / "scanner", 1)
    for _ in range(2):
        assert peers.dcmsend(receiver.port, [path]).returncode == 0
    image = dcmread(path)
    ledger = receiver.ledger()
    (record,) = ledger.instances(image.StudyInstanceUID)
    assert record.times_received == 2
    assert ledger.study(image.StudyInstanceUID).instances == 1


def test_the_same_pixels_under_another_header_keep_the_first(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """A PACS that corrected a name sends again: acknowledged, noted, and what an analysis may have used stays."""
    (path,) = mr_files(tmp_path / "scanner", 1)
    peers.dcmsend(receiver.port, [path])
    corrected = dcmread(path)
    corrected.PatientName = "Corrected^Patient"
    assert peers.dcmsend(receiver.port, [save(corrected, tmp_path / "corrected.dcm")]).returncode == 0

    ledger = receiver.ledger()
    record = ledger.instance(corrected.SOPInstanceUID)
    assert record is not None
    assert dcmread(receiver.spool / record.path).PatientName == "Synthetic^Patient"
    assert [event.kind for event in ledger.events(corrected.StudyInstanceUID)] == [EventKind.VARIANT]


def test_the_same_image_compressed_is_no_conflict(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """Two archives of one hospital may keep one image in two transfer syntaxes."""
    (path,) = mr_files(tmp_path / "scanner", 1)
    peers.dcmsend(receiver.port, [path])
    compressed = tmp_path / "compressed.dcm"
    assert peers.dcmtk("dcmcrle", path, compressed).returncode == 0
    assert peers.dcmsend(receiver.port, [compressed]).returncode == 0
    (event,) = receiver.ledger().events(dcmread(path).StudyInstanceUID)
    assert event.kind is EventKind.VARIANT


def test_other_pixels_under_a_known_uid_go_to_quarantine(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """Which of the two is right is for a person to say; until then the first one counts, and the sender is told."""
    (path,) = mr_files(tmp_path / "scanner", 1)
    peers.dcmsend(receiver.port, [path])
    first = dcmread(path)
    other = mr_image(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, uid=first.SOPInstanceUID, seed=99)
    with_association = associate(receiver.port)
    answer = with_association.send_c_store(other)
    with_association.release()

    assert answer.Status == 0x0111
    (event,) = receiver.ledger().events(first.StudyInstanceUID)
    assert event.kind is EventKind.CONFLICT
    (put_aside,) = (receiver.spool / "quarantine").glob(f"{first.SOPInstanceUID}.*")
    assert put_aside.name in event.words
    assert dcmread(put_aside).PixelData == other.PixelData


@pytest.mark.parametrize(
    "convert",
    [
        ("dcmconv", "+ti"),
        ("dcmconv", "+tb"),
        ("dcmconv", "+td"),
        ("dcmcrle",),
        ("dcmcjpeg", "+e1"),
        ("dcmcjpeg", "+el"),
        ("dcmcjpls", "+el"),
        (JPEG2000Lossless,),
    ],
    ids=["implicit", "big endian", "deflated", "RLE", "JPEG lossless SV1", "JPEG lossless", "JPEG-LS", "JPEG 2000"],
)
def test_objects_are_stored_in_the_transfer_syntax_they_came_in(
    receiver: ReceiverProcess, tmp_path: Path, convert: tuple[str, ...]
) -> None:
    """PACS send what they archived; decompressing at the door would lose time and prove nothing."""
    (plain,) = mr_files(tmp_path / "scanner", 1, size=64)
    sent = tmp_path / "sent.dcm"
    if convert[0] == JPEG2000Lossless:
        image = dcmread(plain)
        image.compress(JPEG2000Lossless)
        image.save_as(sent)
    else:
        assert peers.dcmtk(*convert, plain, sent).returncode == 0
    if convert[0] == "dcmconv":  # dcmsend would convert it back to explicit VR little endian
        proposal = {"+ti": "-xi", "+tb": "-xb", "+td": "-xd"}[convert[1]]
        names = ["-aet", SCANNER, "-aec", NODE]
        assert peers.dcmtk("storescu", *names, proposal, "127.0.0.1", receiver.port, sent).returncode == 0
    else:
        assert peers.dcmsend(receiver.port, [sent]).returncode == 0
    image = dcmread(sent)
    record = receiver.ledger().instance(image.SOPInstanceUID)
    assert record is not None
    assert record.transfer_syntax_uid == image.file_meta.TransferSyntaxUID
    stored = dcmread(receiver.spool / record.path)
    assert (stored.pixel_array == dcmread(plain).pixel_array).all()


@pytest.mark.parametrize(
    "syntax", [s for s in storage_scp.TRANSFER_SYNTAXES if s.is_encapsulated], ids=lambda s: s.name
)
def test_every_accepted_compression_can_be_decoded(syntax: str) -> None:
    """What is acknowledged and cannot be read later would be a study that silently never comes to a result."""
    assert get_decoder(syntax).is_available


def test_a_site_may_add_storage_classes(tmp_path: Path) -> None:
    """Private objects that a scanner sends along with its studies, here Siemens' CSA Non-Image Storage."""
    private = "1.3.12.2.1107.5.9.1"
    settings = peers.node_settings(tmp_path / "state", extra_storage_classes=(private,))
    ds = mr_image(SOPClassUID=private)
    with peers.receiver_process(settings) as receiver:
        ae = AE(ae_title=SCANNER)
        ae.add_requested_context(private)
        association = ae.associate("127.0.0.1", receiver.port, ae_title=NODE)
        from pynetdicom import register_uid
        from pynetdicom.service_class import StorageServiceClass

        register_uid(private, "CsaNonImageStorage", StorageServiceClass)
        assert association.send_c_store(ds).Status == 0
        association.release()


def test_our_results_come_back_and_start_nothing(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """A PACS that routes everything back: our objects are acknowledged, marked as ours, and drive no endless loop."""
    images = mr_files(tmp_path / "scanner", 2)
    peers.dcmsend(receiver.port, images)
    study = dcmread(images[0]).StudyInstanceUID
    ledger = receiver.ledger()
    analysis = ledger.begin_analysis(study, "generation", "identity", up_to=ledger.study(study).last_image_seq)
    made = mr_image(study=study)  # even if it were an MR image
    series, now = made.SeriesInstanceUID, ledger.study(study).last_received
    ledger.record_result(
        ResultRecord(made.SOPInstanceUID, series, made.SOPClassUID, analysis.id, "sc", "made.dcm", now)
    )

    assert peers.dcmsend(receiver.port, [save(made, tmp_path / "made.dcm")]).returncode == 0
    back = ledger.instance(made.SOPInstanceUID)
    assert back is not None
    assert (back.own, back.starts) == (True, False)
    assert not ledger.study(study).has_new_images


def test_the_ledger_knows_who_is_still_sending(receiver: ReceiverProcess) -> None:
    """A study is not complete while the association that brought its images is open."""
    image, ledger = mr_image(), receiver.ledger()
    association = associate(receiver.port)
    association.send_c_store(image)
    (sending,) = ledger.open_associations(image.StudyInstanceUID)
    assert (sending.calling_ae, sending.address) == (SCANNER, "127.0.0.1")
    association.release()
    wait_until("the end of it", lambda: not ledger.open_associations(image.StudyInstanceUID))


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize("cut", [1, 200, 512, 700], ids=lambda n: f"{n} bytes short")
def test_a_truncated_data_set_is_not_acknowledged(receiver: ReceiverProcess, tmp_path: Path, cut: int) -> None:
    """By one byte of its pixels or by half its header: it is not the image that the scanner made."""
    image = mr_image()
    assert store_bytes(receiver, encoded(image)[:-cut], uid=image.SOPInstanceUID) == 0xC000
    assert receiver.ledger().instance(image.SOPInstanceUID) is None


@pytest.mark.parametrize(
    "data", [b"\0\0", bytes(range(256)) * 4, b"\xff" * 64], ids=["nothing", "every byte", "undefined lengths"]
)
def test_nonsense_is_not_acknowledged(receiver: ReceiverProcess, data: bytes) -> None:
    assert store_bytes(receiver, data) == 0xC000


def test_a_data_set_that_is_not_what_the_command_says_is_refused(receiver: ReceiverProcess, tmp_path: Path) -> None:
    """PS3.4 B.2.3: A900. The acknowledgement would be for another object than the one that was kept."""
    image = mr_image()
    assert store_bytes(receiver, encoded(image), uid="1.2.3.4") == 0xA900
    assert (
        store_bytes(receiver, encoded(image), uid=image.SOPInstanceUID, sop_class=SecondaryCaptureImageStorage)
        == 0xA900
    )
    assert any("A900" in event.words for event in receiver.ledger().events(kinds=(EventKind.OBJECT_REFUSED,)))
    assert not Spool(receiver.spool).place(image.SOPInstanceUID).exists()


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_object_without_a_place_is_refused(receiver: ReceiverProcess, missing: str) -> None:
    """Without these three nobody could say which study it belongs to."""
    image = mr_image()
    uid = image.SOPInstanceUID
    delattr(image, missing)
    assert store_bytes(receiver, encoded(image), uid=uid) == 0xC000


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("uid", ["../evil", "/etc/evil", "1.2.x", "1." + "2" * 70], ids=str)
def test_an_invalid_uid_is_refused_and_never_a_path(receiver: ReceiverProcess, tmp_path: Path, uid: str) -> None:
    """A UID names the file, so nothing but digits and dots may pass for one."""
    image = mr_image(SOPInstanceUID=uid)
    assert store_bytes(receiver, encoded(image), uid=uid) in (0xC000, None)
    assert not list(receiver.state.parent.rglob(f"*{uid.rpartition('/')[2]}*"))
    assert peers.echoscu(receiver.port).returncode == 0


def test_below_the_disk_reserve_nothing_is_accepted(tmp_path: Path) -> None:
    """A700 while there is still room to work on what was accepted before; the sender keeps its images."""
    settings = peers.node_settings(tmp_path / "state", reserve_mb=1 << 30)
    with peers.receiver_process(settings) as receiver:
        association = associate(receiver.port)
        answer = association.send_c_store(mr_image())
        association.release()
    assert answer.Status == 0xA700
    assert "MB are free" in answer.ErrorComment


def test_an_object_beyond_the_size_limit_is_refused(tmp_path: Path) -> None:
    """Its bytes are dropped as they come, and the association goes on."""
    with peers.receiver_process(peers.node_settings(tmp_path / "state", max_object_mb=1)) as receiver:
        association = associate(receiver.port)
        assert association.send_c_store(mr_image(size=800)).Status == 0xA700
        assert association.send_c_store(mr_image()).Status == 0
        association.release()
    assert not list((tmp_path / "state" / "spool" / "incoming" / "receiver-0").iterdir())


# ------------------------------------------------------------------ odd peers, against a receiver in this process
@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[GuardedServer]:
    """A receiver with tight limits: 0.5 s for an A-ASSOCIATE-RQ, two associations per peer, objects of 1 MB.

    The time for silence is 20 s, or what a test gives as its parameter.
    """
    monkeypatch.setattr(storage_scp, "ARTIM_S", 0.5)
    monkeypatch.setattr(dimse_messages, "NamedTemporaryFile", dimse_messages.NamedTemporaryFile)
    monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", False)
    idle_timeout_s = getattr(request, "param", 20)
    settings = peers.node_settings(
        tmp_path / "state", idle_timeout_s=idle_timeout_s, max_associations_per_peer=2, max_object_mb=1
    )
    spool = Spool(settings.state_folder / "spool", max_object_bytes=1 << 20)
    ledger = Ledger(settings.state_folder / "ledger.sqlite")
    running = storage_scp.listen(settings, spool, ledger)
    yield running
    running.shutdown()
    ledger.close()


def call(server: GuardedServer) -> socket.socket:
    peer = socket.create_connection(server.server_address[:2], timeout=5)
    peer.settimeout(5)
    return peer


def until_closed(peer: socket.socket) -> bytes:
    """Everything that comes until the other side closes; fails after the socket's time-out."""
    received = b""
    while chunk := peer.recv(4096):
        received += chunk
    return received


def test_half_an_association_request_is_ended_by_the_timer(server: GuardedServer) -> None:
    """PS3.8 9.1.5, ARTIM: 150 such peers would otherwise hold 300 threads for ever."""
    with call(server) as peer:
        peer.sendall(bytes([1, 0]) + struct.pack(">L", 200) + b"\0" * 20)
        started = time.monotonic()
        assert until_closed(peer)[:1] == b"\x07", "A-ABORT"
        assert time.monotonic() - started < 2
    wait_until("no thread is left", lambda: not server.active_associations)


def test_a_claim_of_four_gigabytes_is_aborted_at_the_header(server: GuardedServer) -> None:
    """Not one byte of it is waited for, let alone taken into memory."""
    with call(server) as peer:
        peer.sendall(bytes([1, 0]) + struct.pack(">L", 0xFFFFFFFF))
        started = time.monotonic()
        assert peer.recv(10)[:1] == b"\x07"
        assert time.monotonic() - started < 0.4


def test_other_protocols_on_the_port_are_sent_away(server: GuardedServer) -> None:
    """A port scanner or a browser: closed, and DICOM peers are served as before."""
    with call(server) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        until_closed(peer)
    association = associate(server.server_address[1])
    assert association.is_established
    association.release()


def raw_pdu(association: Association, data: bytes) -> None:
    assert association.dul.socket is not None
    association.dul.socket.send(data)


def test_a_pdu_beyond_the_negotiated_length_is_aborted(server: GuardedServer, tmp_path: Path) -> None:
    """PS3.8 Annex D.1: the receiver said how much it takes at once."""
    association = associate(server.server_address[1])
    raw_pdu(association, bytes([4, 0]) + struct.pack(">L", storage_scp.MAXIMUM_PDU + 1))
    wait_until("the abort", lambda: association.is_aborted)
    (event,) = wait_until("the note", lambda: ledger_in(tmp_path).events(kinds=(EventKind.ASSOCIATION_ABORTED,)))
    assert "claimed 131073 bytes" in event.words


@pytest.mark.parametrize("server", [1], ids=["1 s"], indirect=True)
@pytest.mark.parametrize("pieces", [1, 100], ids=["a stall inside a PDU", "a byte now and then"])
def test_a_pdu_has_a_time_limit(server: GuardedServer, pieces: int) -> None:
    """Silence is noticed between PDUs by the library, inside one by the guard; dripping bytes is silence too."""
    association = associate(server.server_address[1])
    raw_pdu(association, bytes([4, 0]) + struct.pack(">L", 1000))
    started = time.monotonic()
    for _ in range(pieces):
        if association.is_aborted:
            break
        raw_pdu(association, b"\0")
        time.sleep(0.05)
    wait_until("the abort", lambda: association.is_aborted, limit_s=3)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("server", [1], ids=["1 s"], indirect=True)
def test_an_idle_association_is_aborted(server: GuardedServer) -> None:
    """A sender that went to sleep must not hold a place that others need."""
    association = associate(server.server_address[1])
    wait_until("the abort", lambda: association.is_aborted, limit_s=4)


def test_a_break_in_the_middle_of_an_object_leaves_no_file(
    server: GuardedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not acknowledged is the sender's to send again; its pieces must not fill the disk."""
    files: list[IncomingFile] = []
    incoming = Spool.incoming
    monkeypatch.setattr(Spool, "incoming", lambda self: files.append(incoming(self)) or files[-1])
    association = associate(server.server_address[1])
    image = mr_image(size=400)
    fragments = c_store_fragments(association, encoded(image), uid=image.SOPInstanceUID, sop_class=MRImageStorage)
    for fragment in fragments[:-2]:
        association.dul.send_pdu(fragment)
    wait_until("half a file", lambda: files and files[0].size > 100_000)
    assert files[0].path.exists()
    assert association.dul.socket is not None
    assert association.dul.socket.socket is not None
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    wait_until("no file", lambda: not files[0].path.exists())
    assert ledger_in(tmp_path).studies() == ()


def test_an_object_without_end_is_cut(server: GuardedServer, tmp_path: Path) -> None:
    """Beyond twice the size limit no answer is worth waiting for: aborted, and nothing stays on disk."""
    association = associate(server.server_address[1])
    endless = c_store_fragments(association, bytes(3 << 20), uid="1.2.3", sop_class=MRImageStorage)
    for fragment in endless[:-1]:
        association.dul.send_pdu(fragment)
    wait_until("the abort", lambda: association.is_aborted, limit_s=4)
    (event,) = wait_until("the note", lambda: ledger_in(tmp_path).events(kinds=(EventKind.ASSOCIATION_ABORTED,)))
    assert "went on beyond 2 MB" in event.words
    assert not list((tmp_path / "state" / "spool" / "incoming" / "receiver-0").iterdir())


def test_one_peer_cannot_take_every_place(server: GuardedServer) -> None:
    """The third association of one address is refused as a matter of the moment, so that it tries again."""
    port = server.server_address[1]
    first, second = associate(port), associate(port)
    third = associate(port)
    assert third.is_rejected
    assert third.acceptor.primitive is not None
    assert third.acceptor.primitive.result == 2, "transient"
    first.release()
    wait_until("a free place", lambda: len([a for a in server.active_associations if a.is_established]) < 2)
    assert associate(port).is_established
    second.release()


def test_stalled_connections_do_not_lock_out_others(server: GuardedServer) -> None:
    """Connections that never ask for anything are bounded per address, and their time is short."""
    stalled = [call(server) for _ in range(20)]
    association = wait_until(
        "an association", lambda: (a := associate(server.server_address[1])).is_established and a, limit_s=5
    )
    association.release()
    for peer in stalled:
        peer.close()
