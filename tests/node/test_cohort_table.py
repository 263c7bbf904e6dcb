"""The table of labels: a slip is told, doubt leaves a study out, and who is who stays in the house."""

from __future__ import annotations

from pathlib import Path

import pytest

from mome import node_cohort
from mome_node.cohort import table
from mome_node.cohort.pseudonyms import Pseudonyms, note_way_back, open_key
from mome_node.cohort.table import AtHand, Matched, Row
from mome_node.errors import NodeError

MAKER = node_cohort.load(preprocessing="demonstration")


def read(folder: Path, text: str, encoding: str = "utf-8") -> list[Row]:
    path = folder / "labels.csv"
    path.write_text(text, encoding=encoding)
    return table.read(path, MAKER)


def row(line: int, study: str = "", accession: str = "", patient: str = "", **labels: str) -> Row:
    return Row(line, study, accession, patient, labels)


def at_hand(study: str, patient: str = "", accession: str = "") -> AtHand:
    return AtHand(study, patient, accession, "")


def match(rows: list[Row], *studies: AtHand) -> Matched:
    return table.match(rows, studies, MAKER)


# ------------------------------------------------------------------ reading
def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """Excel in much of Europe writes semicolons, and a mark in front."""
    (only,) = read(tmp_path, "accession_number;malignant;reader: R1\n A1 ;1;4\n;;\n", "utf-8-sig")
    assert only == Row(2, "", "A1", "", {"malignant": "1", "reader: R1": "4"})


def test_an_unknown_column_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    """`malignent` passed over in silence would be a cohort without labels."""
    with pytest.raises(NodeError) as error:
        read(tmp_path, "accession_number,malignent\nA1,1\n")
    assert "'malignent'" in error.value.message
    assert "malignant" in error.value.remedy
    assert "kaiser" in error.value.remedy


def test_a_table_must_name_studies(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="names no study"):
        read(tmp_path, "patient_id,malignant\nP,1\n")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("malignant", "yes"),
        ("tnbc", "2"),
        ("birads", "4D"),
        ("bpe", "Mild"),
        ("age", "190"),
        ("adc", "1100"),
        ("adc", "nan"),
        ("kaiser", "12"),
        ("reader: R1", "high"),
    ],
)
def test_a_value_that_means_nothing_is_told_with_its_line_and_column(tmp_path: Path, column: str, value: str) -> None:
    """Every slip of a table at once, not one for each run."""
    with pytest.raises(NodeError) as error:
        read(tmp_path, f"accession_number,{column}\nA1,\nA2,{value}\nA3,{value}\n")
    assert f"line 3: {value!r} is no value of {column}" in error.value.message
    assert "line 4" in error.value.message


def test_an_identifier_never_becomes_a_wildcard(tmp_path: Path) -> None:
    """A PACS would answer `*` with every study it has."""
    with pytest.raises(NodeError, match="line 2"):
        read(tmp_path, "accession_number\n*\n")
    with pytest.raises(NodeError, match="no UID"):
        read(tmp_path, "study_instance_uid\n1.2.*\n")


# ------------------------------------------------------------------ rows and studies
def test_rows_and_studies_without_each_other_are_told() -> None:
    found = match([row(2, "1.2"), row(3, "1.9"), row(4, accession="A7")], at_hand("1.2", "P"), at_hand("1.3", "P"))
    assert [one.study.study for one in found.labelled] == ["1.2"]
    assert [study.study for study in found.without_row] == ["1.3"]
    assert found.remarks == {"NO_SUCH_STUDY": (3, 4)}


def test_an_accession_number_of_two_studies_names_neither() -> None:
    found = match([row(2, accession="A")], at_hand("1.2", "P", "A"), at_hand("1.3", "P", "A"))
    assert found.labelled == ()
    assert found.remarks == {"ACCESSION_AMBIGUOUS": (2,)}


def test_rows_of_one_study_that_agree_are_joined() -> None:
    """One list of histology, one of readers: each row says its part."""
    found = match([row(2, "1.2", malignant="1"), row(3, accession="A", malignant="1", adc="1.1")],
                  at_hand("1.2", "P", "A"))  # fmt: skip
    assert found.labelled[0].labels == {"malignant": "1", "adc": "1.1"}
    assert found.labelled[0].refused == ()
    assert found.remarks == {"ROW_TWICE": (2, 3)}


def test_rows_of_one_study_that_contradict_each_other_reject_it() -> None:
    found = match([row(2, "1.2", malignant="1", birads="4"), row(3, "1.2", malignant="0")], at_hand("1.2", "P"))
    assert found.labelled[0].refused == ("ROWS_CONTRADICT",)
    assert found.labelled[0].labels == {"birads": "4"}
    assert found.remarks == {"ROWS_CONTRADICT": (2, 3)}


@pytest.mark.parametrize("wrong", [{"patient": "Q"}, {"accession": "B"}])
def test_a_label_of_another_patient_is_never_taken(wrong: dict[str, str]) -> None:
    """An accession number typed wrong hits somebody: what else the row says must be true of the images."""
    found = match([row(2, "1.2", **wrong)], at_hand("1.2", "P", "A"))
    assert found.labelled[0].refused == ("TABLE_CONTRADICTS_IMAGES",)


def test_an_exam_of_nobody_is_rejected() -> None:
    """It might be of a patient on the other side of a split; a patient_id in the table mends it."""
    assert match([row(2, "1.2")], at_hand("1.2")).labelled[0].refused == ("NO_PATIENT_ID",)
    assert match([row(2, "1.2", patient="P")], at_hand("1.2")).labelled[0].refused == ()


def test_exams_of_one_patient_with_different_answers_are_told_and_kept() -> None:
    """Benign last year, malignant this year may be the truth."""
    found = match(
        [row(2, "1.2", malignant="0"), row(3, "1.3", malignant="1")], at_hand("1.2", "P"), at_hand("1.3", "P")
    )
    assert [one.refused for one in found.labelled] == [(), ()]
    assert found.remarks == {"PATIENT_LABELS_DIFFER": (2, 3)}


# ------------------------------------------------------------------ pseudonyms
def test_a_pseudonym_is_the_same_under_one_key_and_another_under_the_next(tmp_path: Path) -> None:
    """So cohorts made with one key know a patient whom they share."""
    made = open_key(tmp_path / "keys" / "one", tmp_path / "cohort")
    assert made == open_key(tmp_path / "keys" / "one", tmp_path / "cohort")
    assert made.of("patient", "P") != open_key(tmp_path / "keys" / "two", tmp_path / "cohort").of("patient", "P")
    assert made.of("patient", "P") != made.of("study", "P")


def test_the_key_is_for_its_owner_alone_and_never_in_the_cohort(tmp_path: Path) -> None:
    key = tmp_path / "key"
    open_key(key, tmp_path / "cohort")
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(NodeError, match="Others may read"):
        open_key(key, tmp_path / "cohort")
    with pytest.raises(NodeError, match="in the cohort's folder"):
        open_key(tmp_path / "cohort" / "key", tmp_path / "cohort")
    short = tmp_path / "short"
    short.touch(0o600)
    short.write_text("abcd")
    with pytest.raises(NodeError, match="holds no key"):
        open_key(short, tmp_path / "cohort")


def test_the_way_back_of_earlier_cohorts_stays(tmp_path: Path) -> None:
    def noted(study: str) -> dict[str, str]:
        return {"study": study, "patient": "p", "study_instance_uid": "1.2", "accession_number": "", "patient_id": "P"}

    note_way_back(tmp_path / "key", [noted("b")])
    place = note_way_back(tmp_path / "key", [noted("a"), noted("b")])
    assert [line.split(",")[0] for line in place.read_text().split()] == ["study", "a", "b"]
    assert place.stat().st_mode & 0o777 == 0o600


def test_pseudonyms_do_not_run_into_each_other() -> None:
    """Kind and identity are kept apart: none of one is chosen to equal one of the other."""
    assert Pseudonyms(b"k").of("a", "bc") != Pseudonyms(b"k").of("ab", "c")
