"""The drift watch inside the node: one row for each study, digests and metrics, and nothing in a patient's report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from mome_node import overview, pipeline
from mome_node.analysis import headers
from mome_node.analysis.inference import ModelInUse
from mome_node.cli import main
from mome_node.drift import keeping
from mome_node.ledger import Arrival, Ledger, Observation, Outcome, Scanner, State
from mome_node.receive.spool import Spool
from mome_node.results import result_set
from mome_node.results.result_set import Case
from mome_node.results.sr_template import load_vocabulary
from mome_node.settings import MODEL_FILE, Destination, Drift, Settings, Variant
from tests.node import drift_simulation as simulation
from tests.node import make_study, result_fixtures, result_objects
from tests.node.drift_simulation import BEGIN, WEIGHTS, card, hospital
from tests.node.result_fixtures import findings

STUDY, SERIAL = make_study.uid("drift"), "SERIAL-4711"
SPEC = {
    "id": "drift",
    "study": {
        "Manufacturer": "SYNTHETIC",
        "ManufacturerModelName": "Phantom",
        "MagneticFieldStrength": 1.494,
        "DeviceSerialNumber": SERIAL,
        "StationName": "MR-STATION",
        "PatientName": "SYNTHETIC^HANNAH",
        "PatientID": "SYNTHETIC-17",
        "BodyPartExamined": "BREAST",
    },
    "series": [
        {
            "key": "t2",
            "SeriesNumber": 1,
            "SeriesDescription": "t2",
            "groups": [{"n_slices": 4, "z0_mm": 0, "dz_mm": 4, "tags": {}}],
        }
    ],
}
SCANNER = Scanner("SYNTHETIC", "Phantom", 1.5, "")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    pacs = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
    return Settings(state_folder=tmp_path / "state", destinations=(pacs,))


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = Ledger(settings.state_folder / "ledger.sqlite", now=lambda: BEGIN)
    yield opened
    opened.close()


def received(ledger: Ledger, study: str, at: datetime = BEGIN, identity: str = "identity") -> str:
    """A study of one image of which an analysis has begun; its name."""
    ledger._now = lambda: at
    arrival = Arrival(
        sop_instance_uid=f"{study}.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        series_instance_uid=f"{study}.1",
        study_instance_uid=study,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="MR",
        image_type="ORIGINAL",
        patient=b"SYNTHETIC-17",
        sha256="0" * 64,
        size=1,
        path="objects/1.dcm",
        calling_ae="SCANNER1",
        address="10.0.0.5",
        starts=True,
    )
    ledger.record_instance(arrival)
    return ledger.begin_analysis(study, "generation", identity, up_to=1).id


def recorded(ledger: Ledger, observed: list[Observation]) -> None:
    """A hospital's rows, with the studies that they are of."""
    for one in observed:
        analysis = received(ledger, one.study_instance_uid, one.received_at)
        ledger.record_observation(replace(one, analysis_id=analysis))


def observed(analysis: str, **changes: object) -> Observation:
    found = keeping.observation(analysis, findings(study_instance_uid=STUDY), SCANNER, Settings().model, BEGIN)
    return replace(found, **changes)  # type: ignore[arg-type]


def with_model(settings: Settings) -> None:
    settings.state_folder.mkdir(exist_ok=True)
    ModelInUse(card(), "cpu").write(settings.state_folder / MODEL_FILE)


# ------------------------------------------------------------------ what is kept
def test_a_row_holds_what_the_result_shows(ledger: Ledger) -> None:
    """Score with its sequences, every measure, software and weights; the time at which the study came."""
    analysis = received(ledger, STUDY, BEGIN)
    ledger._now = lambda: BEGIN + timedelta(days=3)
    ledger.record_observation(observed(analysis, received_at=BEGIN + timedelta(days=3)))
    (row,) = ledger.observations()
    assert row == observed(analysis)
    assert (row.sequences, row.score, row.measures["mask_volume_ml"]) == ("dce+dwi+t2", 0.7312, 1312.4)
    assert (row.making, row.software, row.received_at) == ("none float32", "mome-node 0.1.0", BEGIN)


def test_a_newer_result_takes_the_place_of_the_row(ledger: Ledger) -> None:
    """A study counts once, however often it is analysed, and stays in the week in which it came."""
    ledger.record_observation(observed(received(ledger, STUDY)))
    again = received(ledger, STUDY, BEGIN + timedelta(days=30), identity="other weights")
    ledger.record_observation(observed(again, weights_sha256="new"))
    (row,) = ledger.observations()
    assert (row.analysis_id, row.weights_sha256, row.received_at) == (again, "new", BEGIN)


def test_a_failure_of_the_node_takes_the_place_of_no_result(ledger: Ledger) -> None:
    """It says nothing about the images, and the earlier result still stands."""
    ledger.record_observation(observed(received(ledger, STUDY)))
    again = received(ledger, STUDY, identity="again")
    ledger.record_observation(observed(again, outcome=Outcome.FAILED))
    assert [row.outcome for row in ledger.observations()] == [Outcome.ANALYSED]


def test_a_result_that_was_taken_back_is_not_counted(ledger: Ledger) -> None:
    analysis = received(ledger, STUDY)
    ledger.record_observation(observed(analysis))
    ledger.set_state(analysis, State.WITHDRAWN)
    assert ledger.observations() == ()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"Manufacturer": " GE  A ", "ManufacturerModelName": "X", "MagneticFieldStrength": 15000}, "GE A X 1.5 T"),
        ({"Manufacturer": "Philips", "MagneticFieldStrength": "2.9945"}, "Philips 3 T"),
        ({"MagneticFieldStrength": "high"}, "unknown scanner"),
        ({"Manufacturer": ["A", "B"], "MagneticFieldStrength": [1.5, 3]}, "['A', 'B']"),
    ],
)
def test_a_scanner_has_a_name_whatever_its_header_says(header: dict[str, object], expected: str) -> None:
    """Field strengths come in gauss, too, and as text; nothing here may cost a study its result."""
    assert str(keeping.scanner(header, "")) == expected


# ------------------------------------------------------------------ the job
@pytest.fixture
def job(settings: Settings, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A study without a dynamic, refused, up to the step that makes its result current: (job, analysis)."""
    from mome_node.jobs import engine

    process = engine.Process(settings, ledger, Spool(settings.state_folder / "spool"))
    monkeypatch.setattr(engine, "_process", process, raising=False)
    make_study.write_study(SPEC, tmp_path / "sent", 16, 16)
    (study,), _ = headers.read_folder(tmp_path / "sent")
    name = f"{STUDY}/1/0/0"
    work = process.work(name)
    context = pipeline.Context(settings, ModelInUse(card(), "cpu"), None, settings.variants)
    pipeline.prepare(work, study)
    for stage in pipeline.STAGES:
        stage(work, context)
    return name, received(ledger, STUDY)


def test_a_kill_at_any_moment_of_the_step_leaves_one_row(
    job: tuple[str, str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step runs again from its beginning: before the row, after it, and when all was done already."""
    from mome_node.jobs import studies

    for moment in ("record_observation", "open_delivery"):
        with monkeypatch.context() as killed:
            killed.setattr(Ledger, moment, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                studies._open_deliveries(*job)
    before = ledger.observations()
    for _ in range(2):
        studies._open_deliveries(*job)
    (row,) = ledger.observations()
    assert before == (row,)
    assert (row.outcome, row.scores, row.measures) == (Outcome.NOT_ANALYSED, {}, {})
    assert "NO_DCE" in row.codes
    assert len(ledger.deliveries(job[1])) == 1


def test_the_row_holds_nothing_of_the_patient_and_no_serial_number(
    job: tuple[str, str], ledger: Ledger, settings: Settings
) -> None:
    """Two equal scanners are told apart by a keyed hash that means nothing elsewhere; people may ask for it."""
    from mome_node.jobs import studies

    studies._open_deliveries(*job)
    (row,) = ledger.observations()
    assert str(row.scanner) == f"SYNTHETIC Phantom 1.5 T, device {ledger.device_key(SERIAL)}"
    assert ledger.device_key("SERIAL-4712") != row.scanner.device
    ledger.close()
    kept = b"".join(file.read_bytes() for file in settings.state_folder.glob("ledger.sqlite*"))
    assert not [word for word in (b"HANNAH", b"SYNTHETIC-17", SERIAL.encode(), b"MR-STATION") if word in kept]


def test_a_site_can_switch_it_off(job: tuple[str, str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from mome_node.jobs import engine, studies

    off = engine.process().settings.model_copy(update={"drift": Drift(enabled=False)})
    monkeypatch.setattr(engine.process(), "settings", off)
    studies._open_deliveries(*job)
    assert ledger.observations() == ()
    assert overview.drift_alarms(ledger, off, BEGIN) == []


# ------------------------------------------------------------------ the file
def test_a_ledger_of_the_second_version_gets_the_table_and_keeps_the_rest(settings: Settings, ledger: Ledger) -> None:
    """An update of the software finds the ledger that the hospital has; what came before is there, unobserved."""
    analysis = received(ledger, STUDY)
    file = settings.state_folder / "ledger.sqlite"
    ledger.close()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE observations"))
        connection.execute(text("UPDATE about SET schema_version = 2"))
    engine.dispose()

    opened = Ledger(file)
    assert opened.observations() == ()
    assert opened.analysis(analysis).state is State.QUEUED
    opened.record_observation(observed(analysis))
    assert len(opened.observations()) == 1
    with opened._read() as connection:
        assert connection.execute(text("SELECT schema_version FROM about")).scalar() == 3
    opened.close()


# ------------------------------------------------------------------ what is written
@pytest.fixture(scope="module")
def five_weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a hospital; in its last week fat suppression of the first scanner fails."""
    file = tmp_path_factory.mktemp("hospital") / "ledger.sqlite"
    ledger = Ledger(file)
    recorded(ledger, hospital(3, 35, a_week=15, change=simulation.fat_suppression_fails, after=28))
    ledger.close()
    return file


@pytest.fixture
def drifting(settings: Settings, five_weeks: Path) -> Iterator[Ledger]:
    with_model(settings)
    opened = Ledger(Path(shutil.copy(five_weeks, settings.state_folder)))
    yield opened
    opened.close()


def test_every_week_gets_one_digest_also_after_the_node_was_down(drifting: Ledger, settings: Settings) -> None:
    """Written once and never again; the weeks of the standstill say that nothing came."""
    folder = settings.state_folder / "digests"
    keeping.write(drifting, settings, BEGIN + timedelta(days=15))
    assert sorted(file.name for file in folder.iterdir()) == ["2025-W02.txt", "2025-W03.txt"]
    stamp = (folder / "2025-W02.txt").stat().st_mtime_ns
    keeping.write(drifting, settings, BEGIN + timedelta(days=43))
    assert sorted(file.name for file in folder.iterdir()) == [f"2025-W{week:02d}.txt" for week in range(2, 8)]
    assert (folder / "2025-W02.txt").stat().st_mtime_ns == stamp
    assert "WARNING brightest fat" in (folder / "2025-W06.txt").read_text()
    assert "nothing left its range" in (folder / "2025-W04.txt").read_text()
    assert "no study in these days" in (folder / "2025-W07.txt").read_text()


def test_a_digest_names_no_study(drifting: Ledger, settings: Settings) -> None:
    keeping.write(drifting, settings, BEGIN + timedelta(days=35))
    written = "".join(file.read_text() for file in settings.state_folder.glob("*/*.[tp]*"))
    assert "WARNING" in written
    assert "1.2.826" not in written


def test_metrics_can_go_where_the_collector_reads(drifting: Ledger, settings: Settings, tmp_path: Path) -> None:
    """The collector of node_exporter is another account, and may not enter the state folder."""
    place = tmp_path / "mome.prom"
    elsewhere = settings.model_copy(update={"drift": Drift(metrics_file=place)})
    keeping.write(drifting, elsewhere, BEGIN + timedelta(days=35))
    assert place.stat().st_mode & 0o777 == 0o644
    assert 'quantity="fat_signal"} 1\n' in place.read_text()
    assert not (settings.state_folder / "metrics").exists()
    keeping.write(drifting, settings, BEGIN + timedelta(days=35))
    assert (settings.state_folder / "metrics" / "mome_node.prom").read_text() == place.read_text()


def test_a_name_that_no_collector_reads_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"must end in \.prom"):
        Drift(metrics_file=Path("/var/lib/node_exporter/mome.txt"))


def test_an_open_warning_stands_above_the_list_of_studies(drifting: Ledger, settings: Settings) -> None:
    """Until the scanner is back in its range; the same all day, whenever somebody looks."""
    morning, evening = (BEGIN + timedelta(days=35, hours=hour) for hour in (1, 23))
    alarms = overview.drift_alarms(drifting, settings, morning)
    assert any("1.5 T" in line and "brightest fat" in line and "`mome-node drift`" in line for line in alarms)
    assert overview.drift_alarms(drifting, settings, evening) == alarms
    assert overview.drift_alarms(drifting, settings, BEGIN + timedelta(days=28)) == []
    assert overview.drift_alarms(drifting, settings, BEGIN + timedelta(days=90)) == []


def test_the_command_tells_people_and_programs_and_says_whether_to_act(drifting: Ledger, settings: Settings) -> None:
    """Its exit code is 1 while a warning is open; it works with the node down."""
    config = settings.state_folder / "node.toml"
    config.write_text(f'state_folder = "{settings.state_folder}"\n')
    run = CliRunner()
    quiet = run.invoke(main, ["--config", str(config), "drift"])  # nothing came for a long time
    assert (quiet.exit_code, "no study in these days" in quiet.output) == (0, True)

    back = (datetime.now(UTC) - BEGIN).days - 34
    told = run.invoke(main, ["--config", str(config), "drift", "--days", str(back + 6)])
    assert told.exit_code == 1
    assert "WARNING brightest fat" in told.output
    command = ["--config", str(config), "drift", "--json", "--days", str(back + 6)]
    document = json.loads(run.invoke(main, command).output)
    assert (document["weights_sha256"], document["reference"]) == (WEIGHTS, "model")
    warnings = [one["quantity"] for one in document["scanners"][0]["compared"] if one["warning"]]
    assert "fat_signal" in warnings
    serial = run.invoke(main, ["--config", str(config), "drift", "--serial", SERIAL])
    assert serial.output == f"device {drifting.device_key(SERIAL)}\n"


# ------------------------------------------------------------------ and never in a report
def test_no_result_says_anything_of_drift(settings: Settings) -> None:
    """A report is about this patient's exam; how other exams of the scanner look is no matter of its reader.

    Neither the settings of the watch nor a model's distributions change what a result is.
    """
    source = result_objects.bare_source()
    for document in (findings(), result_fixtures.refused()):
        case = Case(document, source, result_fixtures.evidence(source), None, None, None)
        made = result_set.build(case, result_fixtures.identity(document), load_vocabulary(), Variant())
        assert made
        assert not [name for name, ds in made.items() if "drift" in str(ds).lower()]
    assert "drift" not in findings().to_json().lower()
    watched = settings.model_copy(update={"drift": Drift(days=30, min_studies=20, enabled=False)})
    assert watched.result_shaping_hash() == settings.result_shaping_hash()
    contexts = [
        pipeline.Context(settings, ModelInUse(replace(card(), distributions=given), "cpu"))
        for given in ({}, card().distributions)
    ]
    assert pipeline.result_identity(contexts[0], 0) == pipeline.result_identity(contexts[1], 0)
