"""Languages of the reports: complete, with the same facts, and English where nobody answers for the translation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mome_node.errors import SettingsError
from mome_node.results import relief, summary, wording
from mome_node.results.sr_template import REVIEWED_TABLES, WORDS, load_vocabulary
from mome_node.results.structured_report import build
from mome_node.shipped import shipped
from tests.node import result_fixtures as fixtures

SHIPPED = shipped("sr_templates")
LANGUAGES = sorted(path.suffixes[0].removeprefix(".") for path in SHIPPED.glob("words.*.toml"))
TRANSLATED = [language for language in LANGUAGES if language != "en"]

FORBIDDEN = {  # written down apart from the product's own list, so that one of the two stays when the other is spoiled
    "en": r"\b(negative|benign|normal|safe|rules? out|ruled out|no cancer)\b",
    "de": r"\b(negativ\w*|gutartig\w*|benigne?\w*|normal\w*|unauffällig\w*|sicher|ausgeschlossen|Ausschluss"
    r"|kein(e|en)? (Krebs|Karzinom|Tumor))\b",
    "zh": r"阴性|良性|正常|安全|排除|除外|无癌|没有癌|未见",
}


def everything_said(language: str) -> dict[str, str]:
    tables = tomllib.loads((SHIPPED / f"words.{language}.toml").read_text(encoding="utf-8"))
    del tables["language"]
    return {f"{table}.{name}": text for table, entries in tables.items() for name, text in entries.items()}


def reviewed(folder: Path, language: str, text: str = 'reviewer = "Dr. Synthetic"\nreviewed = "2025-01-31"') -> Path:
    """A site's folder in which somebody answers for a language."""
    (folder / f"words.{language}.toml").write_text(f"[language]\n{text}\n", encoding="utf-8")
    return folder


def test_english_german_and_chinese_are_there() -> None:
    """English is complete; the other two wait for their reviewer."""
    assert LANGUAGES == ["de", "en", "zh"]
    assert not any(load_vocabulary(language).reviewer for language in LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_complete_and_says_the_same_facts(language: str) -> None:
    """The same entries and the same {braces} in each: a fact that one language leaves out is a fact that is hidden."""
    load_vocabulary(language)
    said, english = everything_said(language), everything_said("en")
    assert said.keys() == english.keys()
    for key, text in said.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", english[key])), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_language_gives_relief(language: str) -> None:
    """Words of relief, in the language itself and in English, in wordings, refusals and helps alike."""
    for key, text in everything_said(language).items():
        for pattern in (FORBIDDEN["en"], FORBIDDEN[language]):
            assert not re.search(pattern, text, re.IGNORECASE), (key, text)


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "The exam is Normal."), ("en", "Cancer can be ruled out"), ("en", "There is no sign of cancer."),
     ("en", "safe to wait"), ("en", "no evidence of malignancy"), ("de", "Unauffälliger Befund"),
     ("de", "kein Karzinom"), ("de", "Malignität ausgeschlossen"), ("de-AT", "gutartig"), ("fr", "aspect bénin"),
     ("fr", "pas de cancer"), ("es", "sin cáncer"), ("es", "es seguro"),
     ("it", "nessun tumore"), ("nl", "geen kanker"), ("nl", "goedaardig"),
     ("zh-Hans", "未见异常"), ("zh-Hans", "可排除乳腺癌"), ("ja", "異常なし"), ("ja", "良性です"), ("xx", "benign")],
)  # fmt: skip
def test_relief_is_found_in_each_language(language: str, text: str) -> None:
    """Sites write in their own language, and their words are held to the same rule."""
    assert relief.found(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "Triple negative malignant neoplasm of breast"), ("en", "Abnormality"), ("en", "It does not raise it."),
     ("de", "keiner der genannten Ausschlussgründe"), ("de", "Der Score nennt keine Seite."), ("zh", "不支持降级")],
)  # fmt: skip
def test_class_names_and_other_words_are_no_relief(language: str, text: str) -> None:
    """A subtype is called triple negative: a name, and no statement."""
    assert relief.found(text, language) is None


# ------------------------------------------------------------------ the reviewer
@pytest.mark.parametrize("language", TRANSLATED)
def test_without_a_reviewer_what_a_reader_acts_on_is_english(language: str) -> None:
    """A wrong translation of an advice or a limit is worse than a foreign one; inputs and helps are translated."""
    prepared, english = load_vocabulary(language), load_vocabulary("en")
    translation = everything_said(language)
    for key in WORDS:
        if key.partition(".")[0] in REVIEWED_TABLES:
            assert prepared.words[key] == english.words[key], key
    assert prepared.words["inputs.missing"] == translation["inputs.missing"] != english.words["inputs.missing"]
    assert prepared.help["NO_PRE"] == translation["help.NO_PRE"]
    assert {"advice", "limits", "marking", "conclusion", "refusal", "score", "withdrawn"} <= REVIEWED_TABLES


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_named_reviewer_enables_a_language(tmp_path: Path, language: str) -> None:
    """Whoever answers for the words at a site says so in the site's own file, with the day."""
    enabled = load_vocabulary(language, [SHIPPED, reviewed(tmp_path, language)])
    assert enabled.reviewer == "Dr. Synthetic, 2025-01-31"
    assert enabled.words["advice.candidate"] == everything_said(language)["advice.candidate"]
    assert enabled.language.value.startswith(language)
    assert enabled.sha256 != load_vocabulary(language).sha256


@pytest.mark.parametrize("language", TRANSLATED)
def test_codes_are_the_same_in_every_language(language: str) -> None:
    """Machines read the codes, wherever the report was written."""
    assert load_vocabulary(language).codes == load_vocabulary("en").codes


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('reviewer = "Dr. Synthetic"', "language.reviewed"),
        ('reviewed = "2025-01-31"', "language.reviewer"),
        ('reviewer = " "\nreviewed = "2025-01-31"', "language.reviewer"),
        ('reviewer = "Dr. Synthetic"\nreviewed = "in spring"', "language.reviewed"),
        ('approved = "yes"', "language.approved"),
    ],
)
def test_half_a_review_is_none(tmp_path: Path, text: str, key: str) -> None:
    """A name without a day, or a day without a name, is a slip; it must not enable half a language."""
    with pytest.raises(SettingsError, match=re.escape(key)):
        load_vocabulary("de", [SHIPPED, reviewed(tmp_path, "de", text)])


# ------------------------------------------------------------------ in the results
def test_the_report_declares_the_language_of_what_a_reader_acts_on(tmp_path: Path) -> None:
    """Language of content (121049): English while the advice is English; otherwise that of the translation."""

    def declared(vocabulary: object) -> str:
        ds = build(found, fixtures.source(), fixtures.evidence(), fixtures.identity(found), vocabulary)  # type: ignore[arg-type]
        item = next(i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121049")
        return str(item.ConceptCodeSequence[0].CodeValue)

    found = fixtures.findings()
    assert declared(load_vocabulary("de")) == "en"
    assert declared(load_vocabulary("de", [SHIPPED, reviewed(tmp_path, "de")])) == "de"


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("kind", fixtures.KINDS)
def test_every_kind_of_result_is_told_in_every_language(kind: str, language: str, tmp_path: Path) -> None:
    """All sentences are filled, none with braces left over."""
    text = summary.for_people(
        fixtures.KINDS[kind](), load_vocabulary(language, [SHIPPED, reviewed(tmp_path, language)])
    )
    assert "{" not in text
    assert everything_said(language)["marking.band_research"] in text


def test_the_german_sentence_of_the_counts_reads_as_german(tmp_path: Path) -> None:
    """The word "synthetic" is put in by the software and must bend to the sentence."""
    german = load_vocabulary("de", [SHIPPED, reviewed(tmp_path, "de")])
    lines = wording.operating_point(fixtures.SCORE, german)
    assert lines[1] == "Auf oder unter dem Schwellenwert: 0 von 86 synthetischen Karzinomen; obere 95-%-Grenze 4.2 %."
