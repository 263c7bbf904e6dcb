"""The spool: whole or not at all; and the walk that decides what is whole."""

from __future__ import annotations

import errno
import hashlib
import io
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from mome_node.errors import StateFolderError, UnreadableDicom
from mome_node.ledger import Ledger, Receipt
from mome_node.receive import spool as spool_module
from mome_node.receive.admission import OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS, Sender, admit
from mome_node.receive.identity import is_valid_uid, read_identity
from mome_node.receive.spool import IncomingFile, Spool

from .peers import mr_image, save

SENDER = Sender("SCANNER1", "10.0.0.5")


def received(spool: Spool, ds: Dataset, scratch: Path) -> IncomingFile:
    """The object as it lies in the incoming folder when its last byte has come."""
    incoming = spool.incoming()
    incoming.write(save(ds, scratch / "sent.dcm").read_bytes())
    return incoming


# ------------------------------------------------------------------ files
def test_an_object_is_nowhere_until_it_is_whole(tmp_path: Path) -> None:
    """Someone who lists the spool while an object comes in sees nothing of it."""
    spool = Spool(tmp_path / "spool")
    incoming = spool.incoming()
    incoming.write(b"half")
    assert not list(spool.objects())
    incoming.write(b" whole")
    with spool.lock("1.2.3"):
        path = spool.keep(incoming, "1.2.3")
    assert list(spool.objects()) == [path]
    assert path.read_bytes() == b"half whole"
    assert incoming.sha256 == hashlib.sha256(b"half whole").hexdigest()
    assert not incoming.path.exists()


def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which a power cut may find things: file, then name, then the folder that holds it."""
    spool, steps = Spool(tmp_path / "spool"), []
    fsync, replace = spool_module.os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        steps.append("fsync folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "fsync file")
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    incoming = spool.incoming()
    incoming.write(b"object")
    with spool.lock("1.2.3"):
        monkeypatch.setattr(spool_module.os, "fsync", watched_fsync)
        monkeypatch.setattr(Path, "replace", watched_replace)
        spool.keep(incoming, "1.2.3")
    assert steps == ["fsync file", "rename", "fsync folder"]


def test_what_is_let_go_is_removed(tmp_path: Path) -> None:
    """An association that breaks leaves nothing on the disk."""
    spool = Spool(tmp_path / "spool")
    incoming = spool.incoming()
    incoming.write(b"half")
    path = incoming.path
    del incoming
    assert not path.exists()


def test_a_start_empties_the_own_incoming_folder_only(tmp_path: Path) -> None:
    """What a killed receiver was receiving is rubbish; what another receiver is receiving is not."""
    folder = tmp_path / "spool"
    mine, other = Spool(folder, receiver="receiver-0").incoming(), Spool(folder, receiver="receiver-1").incoming()
    restarted = Spool(folder, receiver="receiver-0")
    restarted.empty_incoming()
    assert not mine.path.exists()
    assert other.path.exists()


def test_a_full_disk_refuses_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle of an object: A700, no piece of a file, and the next object is served."""
    spool, ledger = Spool(tmp_path / "spool"), Ledger(tmp_path / "ledger.sqlite")
    incoming = spool.incoming()

    class FullDisk(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    incoming.write(b"first bytes")
    monkeypatch.setattr(incoming, "_file", FullDisk())
    incoming.write(b"last straw")
    refused = admit(spool, ledger, incoming, SENDER)
    assert refused.status == OUT_OF_RESOURCES
    assert "No space left" in refused.words
    assert not list((tmp_path / "spool").rglob("*.dcm"))
    assert admit(spool, ledger, received(spool, mr_image(), tmp_path), SENDER).status == SUCCESS


def test_a_spool_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    with pytest.raises(StateFolderError, match="writable"):
        Spool(tmp_path / "spool")


def _hold(folder: Path, held: Any) -> None:
    with Spool(folder).lock("1.2.3"):
        held.set()
        time.sleep(0.5)


def test_one_uid_is_decided_on_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Two receivers get the same UID with other pixels at once: one of them must see the other's file."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "spool", held))
    other.start()
    assert held.wait(20)
    started = time.monotonic()
    with Spool(tmp_path / "spool").lock("1.2.3"):
        assert time.monotonic() - started > 0.3
    other.join(10)


# ------------------------------------------------------------------ admission
def test_no_success_without_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is as much part of the promise as the file; sent again, the object is taken as new."""
    spool, ledger, image = Spool(tmp_path / "spool"), Ledger(tmp_path / "ledger.sqlite"), mr_image()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "record_instance", broken)
        assert admit(spool, ledger, received(spool, image, tmp_path), SENDER).status == PROCESSING_FAILURE
    again = admit(spool, ledger, received(spool, image, tmp_path), SENDER)
    assert (again.status, again.receipt) == (SUCCESS, Receipt.NEW)


def test_a_file_that_vanished_is_taken_again(tmp_path: Path) -> None:
    """The ledger's word alone is no image."""
    spool, ledger, image = Spool(tmp_path / "spool"), Ledger(tmp_path / "ledger.sqlite"), mr_image()
    admit(spool, ledger, received(spool, image, tmp_path), SENDER)
    spool.place(image.SOPInstanceUID).unlink()
    assert admit(spool, ledger, received(spool, image, tmp_path), SENDER).status == SUCCESS
    assert dcmread(spool.place(image.SOPInstanceUID)).PixelData == image.PixelData


# ------------------------------------------------------------------ what is whole
@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", "2.25.1", "1.03.4", "1." + "2" * 62])
def test_uids_of_real_scanners_are_valid(uid: str) -> None:
    """Leading zeros in a component are against the standard, and in archives."""
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", ".1", "1.", "1..2", "1.2.a", "../1", "1.2/3", "1.2\n", "１.２", "1." + "2" * 63]
)
def test_nothing_else_is_a_uid(uid: str) -> None:
    """A valid UID can be a file name; nothing that could leave the folder passes."""
    assert not is_valid_uid(uid)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    """Whatever byte the file ends at: it is never taken for whole. Sequences of both kinds are in it."""
    image = mr_image(size=4)
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99TEST", "synthetic"
    image.ViewCodeSequence = Sequence([item])
    image["ViewCodeSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    image.ProcedureCodeSequence = Sequence([item])
    whole = save(image, tmp_path / "whole.dcm").read_bytes()
    assert read_identity(tmp_path / "whole.dcm").sop_instance_uid == image.SOPInstanceUID
    cut = tmp_path / "cut.dcm"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(UnreadableDicom):
            read_identity(cut)


def test_a_cut_in_compressed_pixels_is_noticed(tmp_path: Path) -> None:
    """Encapsulated pixels have no length of their own; their end is a delimiter (PS3.5 A.4)."""
    image = mr_image(size=64)
    image.compress(RLELossless)
    whole = save(image, tmp_path / "whole.dcm").read_bytes()
    read_identity(tmp_path / "whole.dcm")
    for length in (len(whole) - 1, len(whole) - 8, len(whole) - 500):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(UnreadableDicom):
            read_identity(tmp_path / "cut.dcm")


def test_explicit_vrs_in_an_implicit_data_set_are_read(tmp_path: Path) -> None:
    """A known fault of senders; every archive reads it, so a refusal would only lose the study."""
    image = mr_image()
    path = save(image, tmp_path / "image.dcm")
    faulty = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    path.write_bytes(faulty)
    identity = read_identity(path)
    assert identity.transfer_syntax_uid == ImplicitVRLittleEndian
    assert identity.sop_instance_uid == image.SOPInstanceUID


def test_a_deflated_object_is_bounded(tmp_path: Path) -> None:
    """A few kilobytes can expand to gigabytes; the size limit counts what comes out."""
    image = mr_image()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.PixelData = bytes(2 << 20)
    path = save(image, tmp_path / "bomb.dcm")
    assert path.stat().st_size < 10_000
    assert read_identity(path).sop_instance_uid == image.SOPInstanceUID
    with pytest.raises(UnreadableDicom, match="expands"):
        read_identity(path, max_bytes=1 << 20)


def test_three_thousand_nested_sequences_are_refused_not_a_crash(tmp_path: Path) -> None:
    """They would be a RecursionError in every reader behind us."""
    path = save(mr_image(), tmp_path / "nested.dcm")
    opened = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(path.read_bytes() + opened * 3000)
    with pytest.raises(UnreadableDicom, match="nested"):
        read_identity(path)


def test_what_is_not_dicom_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7" + b" " * 1000)
    with pytest.raises(UnreadableDicom, match="not DICOM"):
        read_identity(path)
