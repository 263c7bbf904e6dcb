"""The main job with real counterparts: a study sent by DCMTK ends as report and overlay in Orthanc."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import EnhancedSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pyorthanc import Orthanc as OrthancClient

from mome_node.analysis import header_records
from mome_node.ledger import Ledger, State
from mome_node.phantom import Written, write_study
from mome_node.receive.study_assembly import decide
from mome_node.settings import Settings, load
from tests.judges import dciodvfy
from tests.node import peers
from tests.node.old_archive import old_archive

pytestmark = [pytest.mark.system, pytest.mark.slow]

QUIET_S = 2
RESULTS = {"SR", "OT"}
DERIVED = (7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23)  # series numbers of subtractions and projections
ENDED = {State.NOT_ANALYSED, State.PARKED}


# ------------------------------------------------------------------ the parts
@dataclass
class Node:
    """A running `mome-node serve` and what it is configured with."""

    settings: Settings
    config: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.state_folder / "ledger.sqlite")

    def state(self, study: str) -> State | None:
        latest = self.ledger.latest_analyses().get(study)
        return latest.state if latest else None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "mome_node.cli", "--config", str(self.config), *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def configured(folder: Path, pacs_port: int, *, quiet_s: float = QUIET_S, destination: str = "") -> tuple[Path, int]:
    """A configuration file for a node that knows SCANNER1 and delivers to Orthanc; its port."""
    port = peers.free_port()
    config = folder / "node.toml"
    config.write_text(
        f"""
state_folder = "{folder / "state"}"
[receiver]
ae_title = "{peers.NODE}"
port = {port}
reserve_mb = 0
[[peers]]
ae_title = "{peers.SCANNER}"
addresses = ["127.0.0.1"]
[[peers]]
ae_title = "{peers.PACS}"
[[destinations]]
name = "pacs"
ae_title = "{peers.PACS}"
host = "127.0.0.1"
port = {pacs_port}
retry_first_s = 1
retry_longest_s = 2
withdrawal_check_after_s = 1
{destination}
[assembly]
quiet_s = {quiet_s}
""",
        encoding="utf-8",
    )
    return config, port


@contextlib.contextmanager
def serving(config: Path) -> Iterator[Node]:
    settings, log = load(config), config.with_suffix(".log")
    with log.open("ab") as stream:
        line = [sys.executable, "-m", "mome_node.cli", "--verbose", "--config", str(config), "serve"]
        process = subprocess.Popen(line, stdout=stream, stderr=stream, start_new_session=True)
    node = Node(settings, config, process, log)
    try:
        peers.wait_until("the receiver", lambda: peers.is_listening(settings.receiver.port), limit_s=60)
        yield node
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def everyone(node: Node) -> list[int]:
    """Process ids of the node: the supervisor, its children, and the compute child."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in table.splitlines())}
    family = [node.process.pid]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def storescu(study: Path, port: int, calling: str = peers.SCANNER) -> subprocess.CompletedProcess[str]:
    return peers.dcmtk(
        "storescu", "+sd", "+r", "-aet", calling, "-aec", peers.NODE, "127.0.0.1", port, study, limit_s=120
    )


def results_in(pacs: peers.Orthanc, study: str) -> list[pydicom.Dataset]:
    """Reports and overlays of a study, read back from Orthanc with pyorthanc."""
    client = OrthancClient(f"http://127.0.0.1:{pacs.http_port}")
    results = []
    for identifier in [found["ID"] for found in client.post_tools_lookup(study)]:
        for series in client.get_studies_id_series(identifier):
            if series["MainDicomTags"]["Modality"] in RESULTS:
                for instance in series["Instances"]:
                    raw = client.get_instances_id_file(instance)
                    results.append(pydicom.dcmread(pydicom.filebase.DicomBytesIO(raw)))
    return results


def wait_for_results(pacs: peers.Orthanc, study: str, limit_s: float = 180) -> dict[str, pydicom.Dataset]:
    """Report and overlay by modality, as soon as both are in the PACS."""

    def both() -> dict[str, pydicom.Dataset] | None:
        found = {result.Modality: result for result in results_in(pacs, study)}
        return found if set(found) == RESULTS else None

    results: dict[str, pydicom.Dataset] = peers.wait_until("report and overlay in the PACS", both, limit_s=limit_s)
    return results


def text_of(report: pydicom.Dataset) -> str:
    """All text and code meanings of a report."""
    words = []
    for element in report.iterall():
        if element.keyword in {"TextValue", "CodeMeaning"}:
            words.append(str(element.value))
    return "\n".join(words)


def without(study: Written, folder: Path, *numbers: int) -> Path:
    """A copy of a written study that lacks some series."""
    shutil.copytree(study.files[0].parents[1], folder)
    for number in numbers:
        shutil.rmtree(folder / f"{number:03d}")
    return folder


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_study(tmp_path_factory.mktemp("phantom"), 11, malignant=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, peers.Orthanc]]:
    """One node and one Orthanc for the stories that need no kill."""
    folder = tmp_path_factory.mktemp("place")
    with peers.orthanc(folder / "pacs") as pacs:
        config, _ = configured(folder, pacs.dicom_port)
        with serving(config) as node:
            yield node, pacs


# ------------------------------------------------------------------ the stories
def test_a_study_that_a_scanner_sends_ends_as_report_and_overlay_in_the_pacs(
    place: tuple[Node, peers.Orthanc], phantom: Written, tmp_path: Path
) -> None:
    """The purpose of the node. Results arrive within the compute time, the quiet time and five seconds."""
    node, pacs = place
    assert storescu(phantom.files[0].parents[1], node.settings.receiver.port).returncode == 0
    uid = phantom.study_instance_uid
    results = wait_for_results(pacs, uid)
    peers.wait_until("the end", lambda: node.state(uid) is State.DELIVERED)

    (analysis,) = node.ledger.analyses(uid)
    (delivery,) = node.ledger.deliveries(analysis.id)
    computed = sum(stage.seconds or 0 for stage in node.ledger.stages(analysis.id))
    assert delivery.delivered_at is not None
    took = (delivery.delivered_at - node.ledger.study(uid).last_received).total_seconds()
    assert took <= computed + QUIET_S + 5
    for name, result in results.items():
        assert result.PatientID == phantom.patient_id
        result.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
        assert dciodvfy(tmp_path / f"{name}.dcm") == []
    assert len(header_records.known(node.settings.state_folder / "spool" / "headers" / f"{uid}.jsonl")) > 900
    said = text_of(results["SR"])
    assert "demonstration weights, trained on synthetic phantoms, not for clinical use" in said
    assert "not evaluated on patients" in said  # why the advice is withheld


def test_own_results_that_the_pacs_routes_back_start_nothing(
    place: tuple[Node, peers.Orthanc], phantom: Written
) -> None:
    """A PACS that routes everything would otherwise keep the node busy with its own words for ever."""
    node, pacs = place
    uid = phantom.study_instance_uid
    before = node.ledger.study(uid)
    for n, result in enumerate(results_in(pacs, uid)):
        result.save_as(node.config.parent / f"back-{n}.dcm", enforce_file_format=True)
    back = sorted(node.config.parent.glob("back-*.dcm"))
    assert peers.dcmsend(node.settings.receiver.port, back, calling=peers.PACS).returncode == 0

    after = node.ledger.study(uid)
    assert after.instances == before.instances + 2
    assert after.images == before.images
    assert not after.has_new_images
    assert [i.own for i in node.ledger.instances(uid) if i.modality in RESULTS] == [True, True]
    time.sleep(QUIET_S + 2)
    assert len(node.ledger.analyses(uid)) == 1


def test_a_study_without_dwi_is_analysed_and_says_so(place: tuple[Node, peers.Orthanc], tmp_path: Path) -> None:
    """Missing sequences are dropped, never filled; the reader must know on what the score rests."""
    node, pacs = place
    study = write_study(tmp_path / "phantom", 12)
    assert storescu(without(study, tmp_path / "no-dwi", 3, 4, *DERIVED), node.settings.receiver.port).returncode == 0
    said = text_of(wait_for_results(pacs, study.study_instance_uid)["SR"])
    assert "NO_DWI" in said or "diffusion" in said.lower()
    assert "Absent" in said


def test_a_study_of_another_region_is_refused_and_says_so(place: tuple[Node, peers.Orthanc], tmp_path: Path) -> None:
    """A prostate in a breast node: no score, no object for readers, a reason for the administrator."""
    node, pacs = place
    study = write_study(tmp_path / "phantom", 13)
    prostate = without(study, tmp_path / "prostate", *DERIVED)
    for path in prostate.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        ds.BodyPartExamined, ds.StudyDescription, ds.ReceiveCoilName = "PROSTATE", "MRI PROSTATE", "Body coil"
        ds.PatientSex, ds.PatientPosition, ds.ProtocolName = "M", "FFS", "prostate"
        ds.SeriesDescription = ds.SeriesDescription.replace("dynaVIEWS", "dyn")
        ds.save_as(path, enforce_file_format=True)
    assert storescu(prostate, node.settings.receiver.port).returncode == 0
    uid = study.study_instance_uid
    peers.wait_until("the refusal", lambda: node.state(uid) is State.NOT_ANALYSED, limit_s=60)
    assert results_in(pacs, uid) == []
    assert "NOT_BREAST" in node.command("jobs", "show", uid).stdout


def test_an_unknown_calling_title_is_refused_with_what_to_configure(
    place: tuple[Node, peers.Orthanc], phantom: Written
) -> None:
    """Closed doors; and the administrator who finds the refusal in the log knows which key to set."""
    node, _ = place
    refused = storescu(phantom.files[0].parents[1], node.settings.receiver.port, calling="STRANGER")
    assert refused.returncode != 0
    said = node.log.read_text()
    assert "STRANGER" in said
    assert "peers" in said


def test_a_person_can_say_that_a_study_is_complete(tmp_path: Path) -> None:
    """Nobody has to wait for the quiet time when somebody knows that all is there."""
    study = write_study(tmp_path / "phantom", 14)
    with peers.orthanc(tmp_path / "pacs") as pacs:
        config, port = configured(tmp_path, pacs.dicom_port, quiet_s=3600)
        with serving(config) as node:
            assert storescu(without(study, tmp_path / "native", *DERIVED), port).returncode == 0
            record = node.ledger.study(study.study_instance_uid)
            assert not decide(record, (), node.settings.assembly, record.last_received).complete
            assert node.command("jobs", "complete", study.study_instance_uid).returncode == 0
            wait_for_results(pacs, study.study_instance_uid)


def test_a_node_that_is_killed_in_the_middle_loses_nothing_and_delivers_once(tmp_path: Path, phantom: Written) -> None:
    """SIGKILL to every process at four moments of one study; after each the node is started again."""
    uid = phantom.study_instance_uid
    with peers.orthanc(tmp_path / "pacs") as pacs:
        config, port = configured(tmp_path, pacs.dicom_port)
        for moment in ("received", "group_series", "run_model", "write_results"):
            with serving(config) as node:
                if moment == "received":
                    assert storescu(phantom.files[0].parents[1], port).returncode == 0
                else:
                    peers.wait_until(moment, lambda stage=moment: reached(node, uid, stage), limit_s=120)
                for pid in everyone(node):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        with serving(config) as node:
            wait_for_results(pacs, uid)
            peers.wait_until("the end", lambda: node.state(uid) is State.DELIVERED, limit_s=30)
            images = {i.sop_instance_uid: i for i in node.ledger.instances(uid) if not i.own}
            assert set(images) == {
                pydicom.dcmread(p, specific_tags=["SOPInstanceUID"]).SOPInstanceUID for p in phantom.files
            }
            for record in images.values():
                assert (node.settings.state_folder / "spool" / record.path).exists()
            time.sleep(QUIET_S + 2)
            assert len(results_in(pacs, uid)) == 2
            assert len(node.ledger.analyses(uid)) == 1
            assert [one.study_instance_uid for one in node.ledger.observations()] == [uid]
            metrics = node.settings.state_folder / "metrics" / "mome_node.prom"
            peers.wait_until("metrics", metrics.exists, limit_s=90)


def reached(node: Node, study: str, stage: str) -> bool:
    return any(s.stage == stage for a in node.ledger.analyses(study) for s in node.ledger.stages(a.id))


def test_a_pacs_that_is_down_gets_its_results_later(tmp_path: Path) -> None:
    """A delivery is tried again, and `jobs list` says what it waits for; nothing is lost."""
    study = write_study(tmp_path / "phantom", 15)
    uid = study.study_instance_uid
    closed = peers.free_port()
    config, port = configured(tmp_path, closed)
    with serving(config) as node:
        assert storescu(without(study, tmp_path / "native", *DERIVED), port).returncode == 0
        peers.wait_until("a failed attempt", lambda: node.state(uid) is State.DELIVERING, limit_s=120)
        peers.wait_until("its words", lambda: "pacs:" in node.command("jobs", "list").stdout, limit_s=30)
        with peers.orthanc(tmp_path / "pacs", dicom_port=closed) as pacs:
            wait_for_results(pacs, uid, limit_s=60)


def test_a_computation_that_keeps_failing_ends_visibly_and_can_be_retried(tmp_path: Path) -> None:
    """Three time-outs: the reader gets "not analysed, because ...", the queue goes on; mended, a retry delivers."""
    study = write_study(tmp_path / "phantom", 17)
    uid = study.study_instance_uid
    with peers.orthanc(tmp_path / "pacs") as pacs:
        config, port = configured(tmp_path, pacs.dicom_port)
        healthy = config.read_text()
        config.write_text(healthy + "[model]\ntimeout_s = 0.01\n")
        with serving(config) as node:
            assert storescu(without(study, tmp_path / "native", *DERIVED), port).returncode == 0
            failed = wait_for_results(pacs, uid)["SR"]
            peers.wait_until("the end", lambda: node.state(uid) is State.FAILED, limit_s=30)
            assert "COMPUTE_FAILED" in node.command("jobs", "show", uid).stdout
            assert "AI score" not in text_of(failed)
        config.write_text(healthy)
        with serving(config) as node:
            assert node.command("jobs", "retry", uid).returncode == 0
            peers.wait_until("the result", lambda: node.state(uid) is State.DELIVERED, limit_s=120)
            reports = [text_of(ds) for ds in results_in(pacs, uid) if ds.Modality == "SR"]
            assert sorted("AI score" in said for said in reports) == [False, True]


def test_a_fault_of_the_node_ends_visibly_and_can_be_retried(tmp_path: Path) -> None:
    """A rules file that breaks while the node runs: the study is FAILED with the reason; mended, a retry delivers."""
    study = write_study(tmp_path / "phantom", 18)
    uid, rules = study.study_instance_uid, tmp_path / "rules.toml"
    with peers.orthanc(tmp_path / "pacs") as pacs:
        config, port = configured(tmp_path, pacs.dicom_port)
        config.write_text(f'series_rules = "{rules}"\n' + config.read_text())
        rules.write_text("")
        with serving(config) as node:
            rules.write_text("[words\n")  # at its start the node refuses it
            assert storescu(without(study, tmp_path / "native", *DERIVED), port).returncode == 0
            peers.wait_until("the end", lambda: node.state(uid) is State.FAILED, limit_s=60)
            shown = node.command("jobs", "list").stdout
            assert "rules.toml" in shown
            assert "jobs retry" in shown
            rules.write_text("")
            assert node.command("jobs", "retry", uid).returncode == 0
            wait_for_results(pacs, uid)


def test_images_that_come_after_the_delivery_wait_for_a_person(
    place: tuple[Node, peers.Orthanc], tmp_path: Path
) -> None:
    """The delivered result does not know them: no second result by itself, and `jobs retry` makes one.

    It says what it replaces. The first is withdrawn; Orthanc knows no rejection notes and goes on showing it, so a page
    says that it is withdrawn, and the administrator is told.
    """
    node, pacs = place
    study = write_study(tmp_path / "phantom", 16)
    uid, port = study.study_instance_uid, node.settings.receiver.port
    without_t2 = without(study, tmp_path / "no-t2", 1, 2, *DERIVED)
    assert storescu(without_t2, port).returncode == 0
    wait_for_results(pacs, uid)
    assert storescu(study.files[0].parents[1] / "002", port).returncode == 0
    peers.wait_until("the wait", lambda: node.state(uid) is State.PARKED, limit_s=60)
    first = {ds.Modality: ds for ds in results_in(pacs, uid)}
    assert len(first) == 2
    assert "jobs retry" in node.command("jobs", "show", uid).stdout

    assert node.command("jobs", "retry", uid).returncode == 0
    peers.wait_until("two results, one withdrawn", lambda: len(results_in(pacs, uid)) == 5, limit_s=120)
    after = results_in(pacs, uid)
    second = next(ds for ds in after if ds.Modality == "SR" and ds.SOPInstanceUID != first["SR"].SOPInstanceUID)
    assert "Replaces result" in text_of(second)
    (predecessors,) = second.PredecessorDocumentsSequence
    assert predecessors.ReferencedSeriesSequence[0].SeriesInstanceUID == first["SR"].SeriesInstanceUID
    assert sum("WITHDRAWN" in ds.SeriesDescription for ds in after) == 1
    peers.wait_until("the end", lambda: "may still be read" in node.command("jobs", "list").stdout)
    assert node.state(uid) is State.DELIVERED

    assert storescu(study.files[0].parents[1] / "001", port).returncode == 0  # a localizer: no model takes it
    time.sleep(QUIET_S + 3)
    assert not node.ledger.study(uid).has_new_images
    assert len(node.ledger.analyses(uid)) == 2


def test_an_old_archive_gets_what_it_takes_hides_what_is_withdrawn_and_is_not_flooded(
    tmp_path: Path, phantom: Written
) -> None:
    """No 3D reports, no multi-frame pictures: plainer objects go there. It obeys rejection notes: no page is needed.

    Of studies that cannot be analysed it is told one within the hour, as configured; the next waits for a person.
    """
    with old_archive() as archive:
        config, port = configured(tmp_path, archive.port, destination="failures_per_hour = 1")
        study = write_study(tmp_path / "phantom", 17)
        uid = study.study_instance_uid
        with serving(config) as node:
            assert storescu(without(study, tmp_path / "native", *DERIVED), port).returncode == 0
            peers.wait_until("the result", lambda: node.state(uid) is State.DELIVERED, limit_s=120)
            classes = {str(ds.SOPClassUID) for ds in archive.shown}
            assert classes == {EnhancedSRStorage, SecondaryCaptureImageStorage}
            assert text_of(next(ds for ds in archive.shown if ds.Modality == "SR"))

            assert "withdrawn from pacs" in node.command("jobs", "withdraw", uid).stdout
            peers.wait_until("the withdrawal", lambda: node.state(uid) is State.WITHDRAWN, limit_s=60)
            assert archive.shown == []
            assert "ALARM" not in node.command("jobs", "list").stdout

            refused = [phantom, write_study(tmp_path / "refused", 18)]
            for n, other in enumerate(refused):
                place = without(other, tmp_path / f"no-dce-{n}", *range(5, 24))
                assert storescu(place, port).returncode == 0
                peers.wait_until("an end", lambda o=other: node.state(o.study_instance_uid) in ENDED, limit_s=60)
            assert [node.state(other.study_instance_uid) for other in refused] == [State.NOT_ANALYSED, State.PARKED]
            assert len({ds.StudyInstanceUID for ds in archive.shown}) == 1
            assert "ALARM" in node.command("jobs", "list").stdout

            first = phantom.study_instance_uid  # its dynamic series comes after all: "not analysed" was too early
            native = [n for n in range(5, 24) if n not in DERIVED]
            assert storescu(without(phantom, tmp_path / "dce", *set(range(1, 24)) - set(native)), port).returncode == 0
            peers.wait_until("the result", lambda: node.state(first) is State.DELIVERED, limit_s=90)

            def reports() -> list[str]:
                return [text_of(ds) for ds in archive.shown if ds.StudyInstanceUID == first and ds.Modality == "SR"]

            peers.wait_until("one current report", lambda: len(reports()) == 1, limit_s=30)
            assert "AI score" in reports()[0]
            assert "had not been analysed" in reports()[0]


def test_a_second_node_on_the_same_state_folder_is_refused(place: tuple[Node, peers.Orthanc]) -> None:
    """Two nodes on one spool would take each other's work."""
    node, _ = place
    second = node.command("serve")
    assert second.returncode == 1
    assert "Another mome-node runs" in second.stderr


def test_clinical_mode_refuses_weights_without_patients(tmp_path: Path) -> None:
    """Demonstration weights know nothing about patients: the node does not even start."""
    config, _ = configured(tmp_path, peers.free_port())
    stated = config.read_text().replace('name = "pacs"', 'name = "pacs"\nadvice = "never"')
    config.write_text('mode = "clinical"\n' + stated)
    line = [sys.executable, "-m", "mome_node.cli", "--config", str(config), "serve"]
    refused = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "not evaluated on patients" in refused.stderr


def test_an_object_that_is_no_image_starts_nothing(place: tuple[Node, peers.Orthanc], tmp_path: Path) -> None:
    """A PACS pushes reports and captures along; they are kept and acknowledged, and the list says what is awaited."""
    node, _ = place
    ds = peers.mr_image(study=generate_uid(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT")
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = peers.save(ds, tmp_path / "capture.dcm")
    assert peers.dcmsend(node.settings.receiver.port, [path]).returncode == 0
    assert "an MR image" in node.command("jobs", "list").stdout
