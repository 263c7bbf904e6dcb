"""The vocabulary of the results: a slip in a file is found at start, by file and key, and no word promises too much."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydicom.sr import _concepts_dict

from mome_node.errors import SettingsError
from mome_node.findings import PROBLEM_CODES
from mome_node.results.sr_template import load_vocabulary
from mome_node.shipped import shipped

WORDS_OF_RELIEF = re.compile(r"\b(negative|benign|normal|safe|rules? out|ruled out|no cancer)\b", re.IGNORECASE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped vocabulary to spoil."""
    return Path(shutil.copytree(shipped("sr_templates"), tmp_path / "sr_templates"))


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_no_wording_gives_relief() -> None:
    """A research score was never evaluated for what these words claim; nor may "not analysed" sound like one."""
    for path in shipped("sr_templates").glob("*.toml"):
        assert not WORDS_OF_RELIEF.findall(path.read_text(encoding="utf-8")), path


def test_standard_codes_mean_what_the_standard_says() -> None:
    """A code with another meaning is read by machines as another statement (PS3.16 Annex D)."""
    meanings: dict[tuple[str, str], set[str]] = {}
    for scheme in ("DCM", "SCT"):
        for entries in _concepts_dict.concepts[scheme].values():
            for value, (meaning, _) in entries.items():
                meanings.setdefault((scheme, value), set()).add(meaning.lower())
    standard = [c for c in load_vocabulary().codes.values() if c.scheme_designator in ("DCM", "SCT")]
    assert standard
    for code in standard:
        assert code.meaning.lower() in meanings[code.scheme_designator, code.value], code


def test_private_codes_are_used_for_one_thing_each() -> None:
    """Two meanings under one private code could never be told apart again."""
    vocabulary = load_vocabulary()
    private = [c for c in vocabulary.codes.values() if c.scheme_designator == vocabulary.scheme.designator]
    values = [c.value for c in [*private, *(m.code for m in vocabulary.measures.values())]]
    assert len(values) == len(set(values))


def test_every_refusal_has_its_own_help() -> None:
    """A study that is not analysed tells its reader what would help, not only that it failed."""
    errors = {code for code, problem in PROBLEM_CODES.items() if problem["severity"] == "error"}
    assert errors <= set(load_vocabulary().help)


@pytest.mark.parametrize(
    ("file", "old", "new", "key"),
    [
        ("words.en.toml", 'withheld = "Advice withheld, because:"', "", "advice.withheld"),
        ("words.en.toml", "[advice]", '[advice]\nrecommend = "Downgrade."', "advice.recommend"),
        ("words.en.toml", "upper 95 % limit {limit} %", "a small limit", "score.counts"),
        ("words.en.toml", "{reasons}", "{reason}", "conclusion.not_analysed"),
        ("words.en.toml", "NO_DCE =", "NO_DEC =", "help.NO_DEC"),
        ("codes.toml", '"KNOWN_CAT"', '"CATEGORY_BY_A_PERSON"', "codes.known_category"),
        ("codes.toml", '"Category given by a person"', f'"{"long " * 14}"', "codes.known_category"),
        ("codes.toml", 'title = ["126002", "DCM", ', 'title = ["126002", ', "codes.title"),
        ("codes.toml", '"millilitre", 0]', '"litre", 0]', "measures.mask_volume_ml"),
        ("codes.toml", 'designator = "99BMRAI"', 'designator = "BMRAI"', "scheme.designator"),
        ("report.toml", '"summary", ', "", "groups"),
        ("report.toml", "overlay = 9002", "overlay = 0", "series_numbers.overlay"),
        ("report.toml", "[", "[[", "not TOML"),
    ],
)
def test_a_slip_is_named_by_file_and_key(folder: Path, file: str, old: str, new: str, key: str) -> None:
    """A site that changes a word learns at start what it spoiled, not from a report that is never written."""
    changed(folder / file, old, new)
    with pytest.raises(SettingsError) as error:
        load_vocabulary(folder=folder)
    assert file in str(error.value)
    assert key in str(error.value)


def test_a_language_without_words_is_refused() -> None:
    """English words under the code of another language would be a wrong statement about the document."""
    with pytest.raises(SettingsError, match=r"words\.xx\.toml"):
        load_vocabulary("xx")


def test_another_word_is_another_vocabulary(folder: Path) -> None:
    """Archives keep the old text under the old UID; the hash of the words is what changes the UIDs."""
    before = load_vocabulary(folder=folder).sha256
    assert before == load_vocabulary().sha256
    changed(folder / "words.en.toml", "It names no side", "It does not name a side")
    assert load_vocabulary(folder=folder).sha256 != before
