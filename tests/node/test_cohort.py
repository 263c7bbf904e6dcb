"""From DICOM and a table to a cohort: what a network is trained on is what it will be shown, and nobody is named."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result

from mome import coalitions, node_cohort
from mome import cohort as cohorts
from mome.weights import DEMONSTRATION_WEIGHTS, load
from mome_node import cohort as making
from mome_node.analysis import inference
from mome_node.analysis.inference import save_volumes
from mome_node.analyze import analyze_folder
from mome_node.cli import main
from mome_node.cohort.folder import Folder
from mome_node.cohort.study import model_inputs
from mome_node.cohort.table import AtHand, Row
from mome_node.errors import NodeError
from mome_node.findings import Findings
from mome_node.phantom import write_labels
from mome_node.settings import Model, Settings
from mome_node.volume import Volume
from tests.node import cohort_studies
from tests.node.cohort_studies import Hospital

SETTINGS = Settings(model=Model(threads=1))
MAKER = node_cohort.load()


def silent(_: str) -> None:
    pass


class Watched(Folder):
    """A folder that notes which studies are read, and is killed before the reading of one."""

    def __init__(self, path: Path, *, dies_at: str = "") -> None:
        super().__init__(path, silent)
        self.read: list[str] = []
        self._dies_at = dies_at

    @contextmanager
    def images(self, study: AtHand, scratch: Path) -> Iterator[list[Path]]:
        if study.study == self._dies_at:
            raise KeyboardInterrupt
        self.read.append(study.study)
        with super().images(study, scratch) as files:
            yield files


@dataclass(frozen=True)
class Story:
    """One command, ended by Ctrl-C before its second study and given again."""

    hospital: Hospital
    first: Sequence[str]  # studies read by each run
    second: Sequence[str]
    left: set[str]  # what lay beside the cohort in between
    made: making.Made
    key: Path

    @property
    def folder(self) -> Path:
        assert self.made.folder is not None
        return self.made.folder


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return cohort_studies.hospital(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def story(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("cohort")
    labels = folder / "labels.csv"
    labels.write_text(
        "study_instance_uid,accession_number,patient_id,malignant,birads,age,reader: R1\n"
        f"{hospital.good.study},,{hospital.good.patient},1,4A,,4\n"
        f",{hospital.strong.accession},,0,4B,61,2\n"
        f"{hospital.poor.study},,,1,5,,\n"
        "1.2.3.4,,,0,,,\n"
    )
    rows, key = making.read_table(labels, MAKER), folder / "keys" / "key"

    def run(source: Watched) -> making.Made:
        return making.make(rows, source, folder / "cohort", SETTINGS, MAKER, key=key, site="north", say=silent)

    first, second = Watched(hospital.folder, dies_at=hospital.strong.study), Watched(hospital.folder)
    with pytest.raises(KeyboardInterrupt):
        run(first)
    left = {path.name for path in folder.iterdir()} - {"labels.csv", "keys"}
    (folder / ".cohort.unfinished" / "study").mkdir()  # as a power cut leaves it
    (folder / ".cohort.unfinished" / "study" / "half.dcm").touch()
    made = run(second)
    assert {path.name for path in folder.iterdir()} == {"labels.csv", "keys", "cohort"}
    return Story(hospital, first.read, second.read, left, made, key)


def case(story: Story, copy: cohort_studies.Copy) -> cohorts.Case:
    """The case of a study, by the way back that only the hospital has."""
    with story.made.linkage.open(newline="", encoding="utf-8") as file:
        (name,) = [line["study"] for line in csv.DictReader(file) if line["study_instance_uid"] == copy.study]
    found = cohorts.load(story.folder)
    (only,) = [case for case in (*found.cases, *found.left_out) if case.case == name]
    return only


# ------------------------------------------------------------------ what comes out
def test_each_study_ends_with_a_status_and_its_reasons(story: Story) -> None:
    """3 T lies outside what the demonstration weights were evaluated on; without a dynamic there is nothing to show."""
    good, strong, poor = (case(story, c) for c in (story.hospital.good, story.hospital.strong, story.hospital.poor))
    assert (good.status, good.reason) == ("used", "")
    assert (strong.status, strong.reason) == ("withheld", "OUTSIDE_EVALUATED_RANGE field_strength_t")
    assert (poor.status, poor.reason.split("; ")[0]) == ("rejected", "NO_DCE")
    found = cohorts.load(story.folder)
    assert len(found) == 2
    assert len(found.left_out) == 1
    assert found.synthetic


def test_the_table_speaks_before_the_headers_and_these_fill_its_gaps(story: Story) -> None:
    good, strong = case(story, story.hospital.good), case(story, story.hospital.strong)
    assert (good.malignant, good.birads, good.readers) == (True, "4A", {"R1": 4.0})
    assert (good.age, strong.age) == (54, 61)
    assert (good.field_strength_t, strong.field_strength_t) == (1.5, 3.0)
    assert good.vendor == "mome-node synthetic phantom"
    assert good.site == "north"
    assert good.sequences == ("dce", "dwi", "t2")


def test_training_sees_what_serving_sees(story: Story, tmp_path: Path) -> None:
    """The score from the cohort's arrays is the one that `mome-node analyze` gives to the same DICOM files.

    Arrays are kept in tenths of a standard deviation: that moves no score of this exam by more than 0.003.
    """
    (outcome,) = analyze_folder(story.hospital.folder / "disc 1", tmp_path, SETTINGS, say=silent)
    assert outcome.folder is not None
    served = Findings.from_json((outcome.folder / "findings.json").read_text(encoding="utf-8"))
    assert served.score is not None
    network, _ = load(DEMONSTRATION_WEIGHTS)
    found = cohorts.load(story.folder)
    place = [one.case for one in found.cases].index(case(story, story.hospital.good).case)
    trained = {name: float(s[place]) for name, s in coalitions.named(coalitions.scores(network, found)).items()}
    assert trained == pytest.approx(dict(served.score.coalitions), abs=0.004)
    with (story.folder / "quality.csv").open(newline="", encoding="utf-8") as file:
        (line,) = [line for line in csv.DictReader(file) if line["case"] == found.cases[place].case]
    for name, value in served.measures.items():
        if name != "attribution_steps":  # of the explanation, which a cohort has none of
            assert float(line[name]) == pytest.approx(value, rel=1e-6)


def test_the_report_counts_everything_that_was_asked_for(story: Story) -> None:
    said = json.loads((story.folder / "report.json").read_text(encoding="utf-8"))
    assert said["flow"] == {
        "studies_found": 4, "studies_without_row": 1, "rows": 4, "rows_without_study": 1, "rows_ambiguous": 0,
        "cases": 3, "patients": 3, "used": 1, "withheld": 1, "rejected": 1, "failed": 0,
    }  # fmt: skip
    assert said["reasons"]["withheld"] == {"OUTSIDE_EVALUATED_RANGE field_strength_t": 1}
    assert said["counts"]["malignant"] == {"0": {"withheld": 1}, "1": {"used": 1, "rejected": 1}}
    assert said["counts"]["sex"] == {"F": {"used": 1, "withheld": 1, "rejected": 1}}
    assert said["remarks"]["NO_SUCH_STUDY"]["lines"] == [5]
    words = (story.folder / "report.md").read_text(encoding="utf-8")
    assert "# Synthetic cohort" in words
    assert "| NO_DCE | 1 |" in words


def test_nobody_is_named_in_the_cohort(story: Story) -> None:
    """Not a byte of name, identifier, date or UID of the DICOM headers; the way back lies beside the key."""
    held = b"\x00".join(path.read_bytes() for path in sorted(story.folder.rglob("*")) if path.is_file())
    named = {b"Synthetic^Phantom", b"19700101", b"20240115", b"2024-01-15", b"SYNTHETIC-0", b"Synthetic^Referrer"}
    for path in sorted(story.hospital.folder.rglob("*.dcm"))[::9]:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        named |= {str(ds[word].value).encode() for word in UIDS_AND_NUMBERS}
    assert len(named) > 100
    assert [text for text in named if text in held] == []
    assert story.made.linkage == story.key.with_name("linkage.csv")
    assert story.made.linkage.stat().st_mode & 0o077 == 0
    assert story.hospital.good.patient in story.made.linkage.read_text()


UIDS_AND_NUMBERS = (
    "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber", "PatientID",
    "PatientName",
)  # fmt: skip


# ------------------------------------------------------------------ the command
def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["cohort", *map(str, arguments)])


def test_the_labels_of_phantoms_are_a_table_for_a_cohort(hospital: Hospital, tmp_path: Path) -> None:
    """`mome-node phantom --labels` and `mome-node cohort --table` are two ends of one thing."""
    write_labels(tmp_path / "labels.csv", [hospital.written])
    (row,) = making.read_table(tmp_path / "labels.csv", MAKER)
    assert (row.study, row.patient) == (hospital.good.study, hospital.good.patient)
    assert row.labels == {name: text for name, text in hospital.written.labels.items() if text}
    assert row.labels["malignant"] == "1"


def test_the_command_says_what_became_of_the_rows(hospital: Hospital, tmp_path: Path) -> None:
    """Where nothing could be used a person must act: exit code 1, and why."""
    table, out = tmp_path / "labels.csv", tmp_path / "cohort"
    table.write_text(f"accession_number,malignant\n{hospital.poor.accession},1\nNONE,0\n")
    ended = command("--table", table, "--dicom", hospital.folder / "disc 3", "--out", out)
    assert ended.exit_code == 1
    assert "2 rows, 1 studies, 1 cases: 0 used, 0 withheld, 1 rejected, 0 failed" in ended.output
    assert "rejected: NO_DCE (1)" in ended.output
    assert "NO_SUCH_STUDY (lines 3)" in ended.output
    assert "there is no cohort" in ended.output
    assert (tmp_path / "pseudonyms" / "key").exists()


def test_studies_come_from_one_place(hospital: Hospital, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("accession_number\nA\n")
    assert command("--table", table, "--out", tmp_path / "cohort").exit_code == 2
    assert command("--table", table, "--out", tmp_path / "c", "--dicom", tmp_path, "--pacs", "pacs").exit_code == 2


# ------------------------------------------------------------------ again and again
def test_a_killed_run_goes_on_with_the_studies_that_are_not_done(story: Story) -> None:
    assert story.left == {".cohort.unfinished"}
    assert list(story.first) == [story.hospital.good.study]
    assert list(story.second) == [story.hospital.strong.study, story.hospital.poor.study]


def test_a_cohort_is_never_written_over(story: Story) -> None:
    with pytest.raises(NodeError, match="is not empty"):
        making.make([], Watched(story.hospital.folder), story.folder, SETTINGS, MAKER, key=story.key, say=silent)


def poor_only(hospital: Hospital, out: Path, maker: Any = MAKER) -> making.Made:
    rows, source = [Row(2, hospital.poor.study, "", "", {})], Folder(hospital.folder / "disc 3", silent)
    return making.make(rows, source, out, SETTINGS, maker, key=out.with_name("key"), say=silent)


def test_where_no_exam_gives_arrays_there_is_a_reason_and_no_cohort(hospital: Hospital, tmp_path: Path) -> None:
    made = poor_only(hospital, tmp_path / "cohort")
    assert made.folder is None
    assert "NO_DCE" in making.in_short(made.report)
    assert not (tmp_path / "cohort").exists()


def test_a_fault_of_the_node_in_one_study_is_a_failed_case(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is tried again by the next run, where a rejection stands."""

    def broken(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("mome_node.cohort.study.prepare", broken)
        assert poor_only(hospital, tmp_path / "cohort").report["reasons"]["failed"] == {"MemoryError": 1}
    assert poor_only(hospital, tmp_path / "cohort").report["flow"]["rejected"] == 1


def test_a_study_that_kills_the_process_does_not_keep_the_others_from_their_turn(
    hospital: Hospital, tmp_path: Path
) -> None:
    """Out of memory, each time at the same study: after `model.max_crashes` runs it has failed, visibly."""
    poor_only(hospital, tmp_path / "cohort")
    (place,) = (tmp_path / ".cohort.unfinished" / "prepared").iterdir()
    (place / "outcome.json").unlink()
    (place / "begun").write_text("xxx")
    assert poor_only(hospital, tmp_path / "cohort").report["reasons"]["failed"] == {"PROCESS_DIED": 1}


def test_other_weights_make_a_study_anew(hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run left was made for another card."""
    poor_only(hospital, tmp_path / "cohort")
    monkeypatch.setattr("mome_node.cohort.study.prepare", lambda *_: pytest.fail("made anew"))
    assert poor_only(hospital, tmp_path / "cohort").report["flow"]["rejected"] == 1
    with pytest.raises(pytest.fail.Exception, match="made anew"):
        poor_only(hospital, tmp_path / "cohort", replace(MAKER, card={**MAKER.card, "version": "another"}))


# ------------------------------------------------------------------ the seam
class Listening:
    """A model that notes what it is shown."""

    card: ClassVar[dict[str, Any]] = {}

    def predict(self, inputs: dict[str, Volume]) -> list[Any]:
        self.shown = inputs
        raise ValueError("heard")


@pytest.mark.parametrize("problems", [[], [{"code": "PATIENT_POSITION_CONTRADICTS_ANATOMY"}]])
def test_the_model_is_shown_the_same_for_training_as_for_a_score(tmp_path: Path, problems: list[Any]) -> None:
    """Also an exam that is registered backwards, which both turn round."""
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = 3, 4, 5
    volumes = {"dce": Volume(np.ones((3, 4, 5, 6), np.float32), affine, (0.0, 90.0, 180.0)),
               "t2": Volume(np.zeros((1, 4, 5, 6), np.float32), affine)}  # fmt: skip
    save_volumes(tmp_path / "volumes.npz", volumes)
    (tmp_path / "quality.json").write_text(json.dumps({"measures": {}, "problems": problems}))
    model = Listening()
    with pytest.raises(ValueError, match="heard"):
        inference._predict(model, tmp_path)  # the compute child's side
    shown = model_inputs(tmp_path)
    assert shown.keys() == model.shown.keys()
    for role, volume in model.shown.items():
        assert np.array_equal(volume.affine, shown[role].affine)
        assert np.array_equal(volume.voxels, shown[role].voxels)
        assert volume.seconds == shown[role].seconds
    assert np.array_equal(shown["dce"].affine, affine) == (not problems)


def test_making_a_cohort_loads_no_torch() -> None:
    """Volumes are prepared in this process; only a model that scores needs a network."""
    opened = "import sys, mome_node.cohort as c; c.open_maker('mome', None, None)"
    code = f"{opened}; print({{'torch', 'monai'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_without_weights_nothing_lies_outside_a_range() -> None:
    """A first training has no card to be held against; the paper's canvases need no weights of that size."""
    maker = node_cohort.load(preprocessing="paper")
    assert maker.preprocessing.canvas("dce") == (384, 256, 128)
    assert maker.card["evaluated_range"] == {}
    with pytest.raises(NodeError, match="'papper' is no preprocessing"):
        making.open_maker("mome", None, "papper")
    with pytest.raises(NodeError, match="makes no cohorts"):
        making.open_maker("another", None, None)
