"""The page and the folder for a paper: whole by themselves, open about synthetic exams, with the document's numbers."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mome.cohort import Cohort
from mome.evaluation import checklists, paper, plots, report, saliency, tables
from mome.evaluation.evaluate import Evaluation, evaluate
from mome.evaluation.facts import facts
from mome.evaluation.page import Page, marked
from mome.evaluation.wording import figure, limits, number, share
from mome.explanation import integrated_gradients

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Reader(HTMLParser):
    """What a browser would find: every element with its attributes, every text by its element; what stays open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data


@pytest.fixture(scope="module", autouse=True)
def quick_bands() -> Iterator[None]:
    """The bands of the curves are tested by how they look, not by how smooth they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def found(synthetic_cohort: Cohort) -> Evaluation:
    """With a saliency from two steps of the path: how well it points is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saliency, "integrated_gradients", partial(integrated_gradients, budget=2))
        return evaluate(None, synthetic_cohort, shapley=True, saliency=1, resamples=50)


@pytest.fixture(scope="module")
def text(found: Evaluation) -> str:
    return report.html(found)


@pytest.fixture(scope="module")
def page(text: str) -> Reader:
    return Reader(text)


def test_the_page_is_whole_and_its_links_lead_somewhere(page: Reader) -> None:
    assert page.open == []
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = {a["href"] for tag, a in page.elements if tag in ("a", "use") and a.get("href")}
    assert links <= {f"#{name}" for name in names}


def test_the_page_needs_nothing_from_outside(text: str, page: Reader) -> None:
    """It is read on machines without a network, and by people who must be sure that it sends nothing anywhere."""
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "form", "img"}
    assert not [a for _, a in page.elements if any(name.startswith("on") or name in ("src", "srcset") for name in a)]
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_synthetic_exams_are_called_so_everywhere(page: Reader) -> None:
    """A table or a figure that is copied out of the page must still say it."""
    for tag in ("title", "h1", "footer"):
        assert all("synthetic" in text.lower() for text in page.texts[tag]), tag
    assert len(page.texts["caption"]) > 10
    assert len(page.texts["figcaption"]) > 8
    for tag in ("caption", "figcaption"):
        assert all(text.startswith("Synthetic exams.") for text in page.texts[tag]), tag
    assert any("says nothing about patients" in text for text in page.texts["p"])


def test_of_patients_the_word_does_not_stand_there(found: Evaluation) -> None:
    """The mark is of the cohort, not of the page."""
    result = {**found.result, "synthetic": False, "cohort": "a hospital"}
    page = Reader(report.html(replace(found, result=result)))
    assert not [text for tag in ("title", "caption", "figcaption") for text in page.texts[tag] if "synthetic" in text]
    assert not [text for text in page.texts["p"] if "says nothing about patients" in text]


def test_the_numbers_are_those_of_the_document(found: Evaluation, page: Reader) -> None:
    cells = page.texts["td"]
    result = found.result
    for name in ("auroc", "partial_auroc_sensitivity_90", "mcc", "likelihood_ratio_positive", "calibration_slope"):
        assert number(result["figures"][name]["estimate"]) in cells
        assert limits(result["figures"][name]) in cells
    for row in result["combinations"].values():
        assert figure(row) in cells
    for counted in result["intention_to_diagnose"]["figures"].values():
        assert share(counted) in cells
    for reader in result["readers"]:
        assert figure(reader["figures"]["specificity"], 2) in cells


def test_every_section_is_there(page: Reader) -> None:
    for words in ("flow", "separate", "Combinations", "Calibration", "Subgroups", "Decision", "BI-RADS 4", "Readers",
                  "Other models", "moved the score", "not measured"):  # fmt: skip
        assert any(words in heading for heading in page.texts["h2"]), words


def test_names_of_strangers_are_no_markup() -> None:
    """Names of readers, sites and reasons come from a table that anybody may have written."""
    page = Page(title="<b>x</b>", synthetic=False)
    page.section("a & b")
    page.table(["<i>"], [["<script>alert(1)</script>"]], "<u>")
    page.figure("<svg></svg>", "<script>")
    read = Reader(page.html("<hr>"))
    assert not {tag for tag, _ in read.elements} & {"script", "b", "i", "u", "hr"}
    assert marked("`a<b`") == "<code>a&lt;b</code>"


def test_an_estimate_is_written_with_its_interval() -> None:
    assert figure({"estimate": 0.9126, "ci95": [0.864, 0.952]}) == "0.913 (0.864–0.952)"
    assert figure({"estimate": -0.051, "ci95": [-0.087, -0.019]}) == "−0.051 (−0.087 to −0.019)"
    assert figure({"estimate": None, "ci95": [None, None]}) == "—"
    assert share({"events": 8, "of": 109, "estimate": 8 / 109, "ci95": [0.032, 0.14]}) == "8 of 109: 7.3 % (3.2–14.0)"


# ------------------------------------------------------------------ the folder for a paper
@pytest.fixture(scope="module")
def folder(found: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "DOTS_PER_INCH", 50)
        place = tmp_path_factory.mktemp("paper")
        paper.write(place, found)
    return place


def test_figures_come_as_drawing_and_as_picture(folder: Path) -> None:
    names = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert {"flow", "separation", "calibration", "subgroups", "decisions", "shapley"} <= names
    for name in names:
        ElementTree.parse(folder / "figures" / f"{name}.svg")
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    captions = (folder / "figures" / "captions.md").read_text().splitlines()
    assert all("Synthetic exams." in line for line in captions if line.startswith("- "))


def test_tables_hold_estimates_in_columns_of_their_own(folder: Path, found: Evaluation) -> None:
    with (folder / "tables" / "figures.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    expected = found.result["figures"]["auroc"]
    assert float(rows["auroc"]["estimate"]) == expected["estimate"]
    assert [float(rows["auroc"][name]) for name in ("low_95", "high_95")] == expected["ci95"]
    for path in (folder / "tables").glob("*.csv"):
        with path.open() as file:
            assert {row["exams"] for row in csv.DictReader(file)} == {"synthetic"}, path.name


def test_cases_are_pseudonyms_with_their_scores(found: Evaluation) -> None:
    rows = {row["case"]: row for row in tables.cases(found)}
    assert len(rows) == 44
    wrong = ((found.malignancy.score > 0.5) != found.malignancy.positive).sum()
    assert sum(row["wrong"] or 0 for row in rows.values()) == wrong
    assert {row["score"] for row in rows.values() if row["status"] != "used"} == {None}


@pytest.mark.parametrize(("questions", "items"), [(checklists.CLAIM, 44), (checklists.TRIPOD, 52)])
def test_every_item_is_answered_or_left_to_the_authors(
    questions: checklists.Questions, items: int, found: Evaluation
) -> None:
    """Nothing is silently left open, and nobody's ethics approval is made up."""
    lines = checklists.filled(questions, facts(found.result))
    assert len({line.number for line in lines}) == len(lines) == items
    assert all(line.answer or line.remains.startswith("author must") for line in lines)
    assert sum(bool(line.answer) for line in lines) > items / 2
    assert all("SYNTHETIC" in line.answer for line in lines if line.answer)
    own = [line for line in lines if any(word in line.subject for word in ("Ethics", "Funding", "Registration"))]
    assert own and not any(line.answer for line in own)


def test_every_fact_that_a_checklist_asks_for_is_one_that_can_be_known(found: Evaluation) -> None:
    """A misspelt name would leave the item to the authors for ever."""
    asked = {fact for _, _, fact, _ in (*checklists.CLAIM, *checklists.TRIPOD) if fact}
    unknown = {"chosen", "partition"}  # not without a record of the training
    assert asked - set(facts(found.result)) <= unknown


def test_the_environment_and_the_seeds_are_there(folder: Path, found: Evaluation) -> None:
    environment = (folder / "environment.txt").read_text()
    assert re.search(r"^torch==", environment, re.M)
    assert environment.startswith("# python 3")
    seeds = json.loads((folder / "seeds.json").read_text())
    assert seeds["bootstrap"] == {"seed": 0, "resamples": 50}
    assert seeds["cohort"]["identity"] == found.cohort.identity


def test_the_same_evaluation_is_the_same_page(text: str, folder: Path) -> None:
    """Two pages of one evaluation can be told to be the same by their hash."""
    assert (folder / "report.html").read_text() == text
