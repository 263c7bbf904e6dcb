"""The vocabulary of the results: a slip in a file is found at start, by file and key, and no word promises too much."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydicom.sr import _concepts_dict
from pydicom.uid import UID

from mome_node.errors import SettingsError
from mome_node.findings import PROBLEM_CODES
from mome_node.results.sr_template import Vocabulary, load_vocabulary
from mome_node.shipped import shipped

WORDS_OF_RELIEF = re.compile(r"\b(negative|benign|normal|safe|rules? out|ruled out|no cancer)\b", re.IGNORECASE)
CLASS_NAMES = ("Triple negative malignant neoplasm of breast",)  # of model cards: names, no statements
NOT_IN_PYDICOM = {("SCT", "706970001"): "triple negative malignant neoplasm of breast"}  # as public sources quote it


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
        text = path.read_text(encoding="utf-8")
        for name in CLASS_NAMES:
            text = text.replace(name, "")
        assert not WORDS_OF_RELIEF.findall(text), path


def test_standard_codes_mean_what_the_standard_says() -> None:
    """A code with another meaning is read by machines as another statement (PS3.16 Annex D)."""
    meanings = {code: {meaning} for code, meaning in NOT_IN_PYDICOM.items()}
    for scheme in ("DCM", "SCT"):
        for entries in _concepts_dict.concepts[scheme].values():
            for value, (meaning, _) in entries.items():
                meanings.setdefault((scheme, value), set()).add(meaning.lower().replace("\u200b", ""))
    vocabulary = load_vocabulary()
    own = vocabulary.scheme.designator
    standard = [c for c in vocabulary.codes.values() if c.scheme_designator != own]
    assert {c.scheme_designator for c in standard} == {"DCM", "SCT"}
    for code in standard:
        assert code.meaning.lower() in meanings[code.scheme_designator, code.value], code


def test_units_are_ucum() -> None:
    """As in the dictionary of units; ml is not in it; the points of a score are an annotation in braces."""
    known = {value for entries in _concepts_dict.concepts["UCUM"].values() for value in entries}
    for unit in load_vocabulary().units.values():
        assert unit.scheme_designator == "UCUM"
        assert unit.value in {*known, "ml"} or re.fullmatch(r"{[a-z]+}", unit.value), unit


def test_the_private_scheme_is_declared_and_its_codes_fit() -> None:
    """CodeValue and CodingSchemeDesignator are SH: at most 16 characters; CodeMeaning is LO: at most 64."""
    vocabulary = load_vocabulary()
    assert vocabulary.scheme.designator.startswith("99")
    assert UID(vocabulary.scheme.uid).is_valid
    for code in [*vocabulary.codes.values(), *(m.code for m in vocabulary.measures.values())]:
        assert len(code.value) <= 16
        assert len(code.meaning) <= 64
        assert code.scheme_designator in {"DCM", "SCT", vocabulary.scheme.designator}


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
        ("words.en.toml", 'withheld = "Advice is withheld, because:"', "", "advice.withheld"),
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
        ("words.en.toml", "gives no support for downgrading.", "is normal.", "conclusion.no_support: 'normal'"),
        ("codes.toml", '"Summary of the AI analysis"', '"Benign exam"', "codes.group_summary: 'benign'"),
    ],
)
def test_a_slip_is_named_by_file_and_key(folder: Path, file: str, old: str, new: str, key: str) -> None:
    """A site that changes a word learns at start what it spoiled, not from a report that is never written."""
    changed(folder / file, old, new)
    with pytest.raises(SettingsError) as error:
        load_vocabulary(folders=[folder])
    assert file in str(error.value)
    assert key in str(error.value)


def test_a_language_without_words_is_refused() -> None:
    """English words under the code of another language would be a wrong statement about the document."""
    with pytest.raises(SettingsError, match=r"words\.xx\.toml"):
        load_vocabulary("xx")


def test_another_word_is_another_vocabulary(folder: Path) -> None:
    """Archives keep the old text under the old UID; the hash of the words is what changes the UIDs."""
    before = load_vocabulary(folders=[folder]).sha256
    assert before == load_vocabulary().sha256
    changed(folder / "words.en.toml", "It names no side", "It does not name a side")
    assert load_vocabulary(folders=[folder]).sha256 != before


# ------------------------------------------------------------------ a site's own folder
@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An empty folder of a site's own entries."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def with_site(site: Path) -> Vocabulary:
    return load_vocabulary("en", [shipped("sr_templates"), site])


def test_a_site_changes_what_it_names_and_nothing_else(site: Path) -> None:
    """Its file holds only its own entries: a new version of ours brings its new words to it."""
    (site / "words.en.toml").write_text('[series]\nreport_research = "KI Forschung"\n', encoding="utf-8")
    (site / "report.toml").write_text("[series_numbers]\nreport = 5001\n", encoding="utf-8")
    (site / "codes.toml").write_text('[equipment]\nmanufacturer = "A hospital"\n', encoding="utf-8-sig")
    ours, theirs = load_vocabulary(), with_site(site)
    assert theirs.say("series.report_research") == "KI Forschung"
    assert theirs.series_numbers == {**ours.series_numbers, "report": 5001}
    assert (theirs.manufacturer, theirs.model) == ("A hospital", ours.model)
    assert {k for k in ours.words if ours.words[k] != theirs.words[k]} == {"series.report_research"}
    assert theirs.sha256 != ours.sha256
    assert theirs.codes == ours.codes


@pytest.mark.parametrize(
    ("file", "text", "where"),
    [
        ("words.en.toml", '[advice]\n# ours\nheading = "Hint"\nno_support = ""\n', "line 4: advice.no_support"),
        ("words.en.toml", '\n[score]\ncounts = "none"\n', "line 3: score.counts"),
        ("words.en.toml", '[advise]\nheading = "Hint"\n', "line 1: advise"),
        ("words.en.toml", 'advice.heading = "Hint"\nadvice.headline = "Hint"\n', "line 2: advice.headline"),
        ("words.en.toml", '[conclusion]\nno_support = "Probably safe."\n', "line 2: conclusion.no_support: 'safe'"),
        ("words.en.toml", '[help]\nNO_PRE = "Benign until shown otherwise."\n', "line 2: help.NO_PRE: 'benign'"),
        ("words.en.toml", '[advice]\nheading = "Hint\n', "at line 2"),
        ("words.en.toml", 'advice = "none"\n', "line 1: advice: the table is missing"),
        ("codes.toml", '[codes]\n\n\nlimits = ["A_VALUE_THAT_IS_TOO_LONG", "99X", "x"]\n', "line 4: codes.limits"),
        ("codes.toml", '[units]\npoints = "1"\n', "line 2: units.points"),
        ("report.toml", "series_numbers = { report = -1 }\n", "line 1: series_numbers.report"),
        ("report.toml", 'groups = ["summary"]\n', "line 1: groups"),
    ],
)
def test_a_broken_template_of_a_site_is_refused_by_file_line_and_reason(
    site: Path, file: str, text: str, where: str
) -> None:
    """Found when the node starts; the line is that of the site's file and not of ours."""
    (site / file).write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        with_site(site)
    assert str(site / file) in str(error.value)
    assert where in str(error.value)


def test_of_several_folders_the_one_that_holds_the_slip_is_named(site: Path, tmp_path: Path) -> None:
    """The last folder that holds the entry: another one with the same table has nothing to do with it."""
    later = tmp_path / "later"
    later.mkdir()
    (site / "words.en.toml").write_text('[advice]\nheading = ""\n', encoding="utf-8")
    (later / "words.en.toml").write_text('[advice]\nno_advice = "None."\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"site/words\.en\.toml, line 2: advice\.heading"):
        load_vocabulary("en", [shipped("sr_templates"), site, later])


def test_a_file_that_nobody_reads_is_refused(site: Path) -> None:
    """A misspelled name would leave the site's words out without a word."""
    (site / "word.en.toml").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"word\.en\.toml is never read"):
        with_site(site)
    with pytest.raises(SettingsError, match="no folder"):
        load_vocabulary("en", [shipped("sr_templates"), site / "elsewhere"])


def test_a_site_brings_a_language_of_its_own_and_it_must_be_complete(site: Path) -> None:
    """What is missing is named; nothing falls silently to another language."""
    english = (shipped("sr_templates") / "words.en.toml").read_text(encoding="utf-8")
    latin = english.replace('["en", "RFC5646", "English"]', '["la", "RFC5646", "Latin"]')
    (site / "words.la.toml").write_text(latin, encoding="utf-8")
    assert load_vocabulary("la", [shipped("sr_templates"), site]).language.value == "en"  # nobody answers for it
    (site / "words.la.toml").write_text(latin.replace("[quality]", "[qualitas]"), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"words\.la\.toml, line \d+: qualitas"):
        load_vocabulary("la", [shipped("sr_templates"), site])
