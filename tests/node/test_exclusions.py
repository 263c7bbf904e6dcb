"""Words of surgery, biopsy, implants, ... withhold the advice; what is only the name of an exam does not."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, MRImageStorage

from mome_node.analysis import exclusions
from mome_node.analysis.advice import advise
from mome_node.errors import SettingsError
from mome_node.results import relief
from mome_node.shipped import shipped
from mome_node.study import Instance, Study
from tests.node import test_advice

SHIPPED = exclusions.load()
DATA = Path(__file__).parents[1] / "data"


def image(keyword: str, value: Any) -> Dataset:
    ds = Dataset()
    setattr(ds, keyword, value)
    return ds


def requested(reason: str) -> Dataset:
    """An image whose request gives `reason`."""
    return image("RequestAttributesSequence", [image("ReasonForTheRequestedProcedure", reason)])


def kinds(*headers: Dataset) -> list[str]:
    return [reason.code.removeprefix("EXCLUDED_").lower() for reason in exclusions.stated(headers, SHIPPED)]


SAID = {
    "surgery_or_radiotherapy": "s/p lumpectomy left | Z.n. OP rechts | Z. n. Mastektomie | Bestrahlung re."
    " | opérée en 2010 | radioterapia 2019 | intervento | borstsparende operatie | 乳腺术后 | 乳房温存術後",
    "recent_biopsy": "post biopsy | Stanzbiopsie geplant | macrobiopsie | biopsia | agobiopsia | biopt"
    " | 穿刺活检 | 針生検後 | 乳腺biopsy后",
    "implant": "breast implants | Silikonimplantate bds. | prothèse | prótesis | protesi | prothesen"
    " | 乳腺假体 | 豊胸術 | no implants",
    "pregnancy_or_lactation": "pregnant | stillend | nicht schwanger | enceinte | embarazada | allattamento"
    " | borstvoeding | 哺乳期 | 授乳中",
    "neoadjuvant_therapy": "neoadjuvant | Therapiekontrolle unter Chemotherapie | chimiothérapie | quimioterapia"
    " | chemioterapia | chemotherapie | 新辅助化疗 | 術前化学療法",
    "known_cancer": "known invasive ductal carcinoma | bekanntes Mammakarzinom | cancer du sein connu | cáncer de mama"
    " | carcinoma mammario | borstkanker | 乳腺癌 | 乳がん | MRI breast staging",
    "palpable_or_other_modality": "palpable lump | Knoten tastbar | nodule | nódulo | ecografia | knobbel | 可触及肿块"
    " | しこり | microcalcifications on mammogram | US: mass",
}


@pytest.mark.parametrize("kind", SAID)
def test_words_of_an_exclusion_withhold_in_every_language(kind: str) -> None:
    """English, German, French, Spanish, Italian, Dutch, Chinese, Japanese. A negation is not read: doubt withholds."""
    for words in SAID[kind].split(" | "):
        assert kind in kinds(requested(words)), words


@pytest.mark.parametrize("words", [
    "BI-RADS 4A left", "Synthetic request: BI-RADS 4A", "screening, high risk", "family history of breast cancer",
    "Familienanamnese: Mammakarzinom", "V.a. Mammakarzinom", "rule out malignancy", "r/o cancer", "乳腺癌家族史",
    "MR-Mammographie bds.", "Kontrastmittelsubstanz", "Gynäkologische Klinik", "dense breasts", "かんじゃ",
])  # fmt: skip
def test_a_family_a_programme_or_a_question_is_no_finding_of_this_patient(words: str) -> None:
    """Withholding from all of these would withhold from nearly every exam, and advice that never comes is read by no
    one."""
    assert kinds(requested(words)) == []


@pytest.mark.parametrize("words", [
    "Personal and family history of breast cancer", "Eigen- und Familienanamnese Mammakarzinom",
    "patient and sister had breast cancer", "history of breast cancer?", "h/o BC 2019",
])  # fmt: skip
def test_a_relative_named_beside_the_patient_does_not_hide_her(words: str) -> None:
    """The phrase on the relative is taken out, and what is left still tells of the patient."""
    assert kinds(requested(words)) == ["known_cancer"]


@pytest.mark.parametrize(("words", "kind"), [
    ("Mamma-OP rechts 2019", "surgery_or_radiotherapy"), ("BEO links", "surgery_or_radiotherapy"),
    ("Z.n. Brustaufbau", "surgery_or_radiotherapy"), ("breast tumor removed", "surgery_or_radiotherapy"),
    ("s/p RT left", "surgery_or_radiotherapy"), ("s/p left breast bx", "recent_biopsy"),
    ("Gewebeentnahme", "recent_biopsy"), ("explanted", "implant"),
    ("mass felt by patient", "palpable_or_other_modality"),
    ("Knubbel links", "palpable_or_other_modality"),
])  # fmt: skip
def test_shorthand_of_the_ward_is_understood(words: str, kind: str) -> None:
    assert kind in kinds(requested(words))


def test_a_harmless_phrase_hides_no_other_word() -> None:
    """Only the phrase itself is taken out."""
    assert kinds(requested("Known cancer. Family history of breast cancer.")) == ["known_cancer"]


@pytest.mark.parametrize("name", ["MRI BREAST WITHOUT IMPLANTS", "MR BREAST W/O IMPLANT", "MR Mamma ohne Implantate"])
def test_without_implants_is_a_protocol_in_names_and_doubt_in_prose(name: str) -> None:
    """Protocols are chosen from a list, and this one is chosen for most patients; a sentence may go on otherwise."""
    assert kinds(image("StudyDescription", name)) == kinds(image("ProtocolName", name)) == []
    assert kinds(requested(name)) == ["implant"]
    assert kinds(image("StudyDescription", "MRI BREAST IMPLANT")) == ["implant"]
    assert kinds(image("SeriesDescription", "t2_tirm silicone sat")) == ["implant"]


def test_mammography_in_a_name_is_the_exam_itself() -> None:
    """ "MR mammography" is what breast MRI is called in several countries; in a reason it is another modality."""
    assert kinds(image("StudyDescription", "MR Mammographie mit KM"), image("ProtocolName", "Mammo^Dynamik")) == []
    assert kinds(requested("Mammographie: Herd")) == ["palpable_or_other_modality"]


def test_every_shipped_word_is_found_and_every_harmless_phrase_is_not() -> None:
    """A word that its own pattern does not find stands in the file for nothing."""
    tables = tomllib.loads(shipped("config/exclusions.toml").read_text(encoding="utf-8"))
    for exclusion in SHIPPED:
        lists = tables[exclusion.kind]
        for word in lists["words"]:
            assert exclusion.find(word.replace("*", ""), is_name=False), word
        for phrase in [*lists["harmless"], *lists["harmless_in_names"]]:
            assert exclusion.find(phrase.replace("*", ""), is_name=True) is None, phrase


def descriptions(value: Any) -> set[str]:
    """Every name of a study, series or protocol anywhere in a JSON document."""
    if isinstance(value, dict):
        here = {str(text) for key, text in value.items() if key in exclusions.NAMES and text}
        return here.union(*map(descriptions, value.values()))
    return set().union(*map(descriptions, value)) if isinstance(value, list) else set()


def test_names_of_real_looking_exams_do_not_withhold() -> None:
    """Every description of the worked grouping studies: only those that do speak of an intervention or silicone."""
    names = {
        name for path in sorted(DATA.glob("grouping_*.json")) for name in descriptions(json.loads(path.read_text()))
    }
    found = {name: kinds(image("SeriesDescription", name)) for name in names if len(name) <= 64}
    assert len(found) > 100
    for name, withheld in found.items():
        assert not withheld or any(word in name.lower() for word in ("silic", "silik", "implant", "biops")), name


@pytest.mark.parametrize("keyword", [
    "StudyDescription", "RequestedProcedureDescription", "ReasonForStudy", "AdmittingDiagnosesDescription",
    "AdditionalPatientHistory", "PatientComments", "MedicalAlerts", "ProtocolName", "SeriesDescription",
    "RequestedProcedureComments", "ImageComments",
])  # fmt: skip
def test_every_place_where_people_write_is_read(keyword: str) -> None:
    """Sites put it where their systems have room; the reason names the place and the word, never the sentence."""
    (reason,) = exclusions.stated([image(keyword, "Erika Muster, Brustimplantate seit 2011")], SHIPPED)
    assert reason.code == "EXCLUDED_IMPLANT"
    assert reason.text == f'Exclusion in words: implant ("brustimplantate" in {keyword}).'


def test_a_coded_reason_is_read_by_its_meaning() -> None:
    """Some systems write codes instead of words."""
    code = image("CodeMeaning", "Personal history of breast cancer")
    assert kinds(image("ReasonForRequestedProcedureCodeSequence", [code])) == ["known_cancer"]


@pytest.mark.parametrize(("status", "found"), [(1, []), (4, []), (2, ["pregnancy_or_lactation"]),
                                               (3, ["pregnancy_or_lactation"])])  # fmt: skip
def test_the_pregnancy_status_is_read(status: int, found: list[str]) -> None:
    """(0010,21C0): 2 possibly, 3 definitely; unknown is what the list below every advice asks the reader to check."""
    assert kinds(image("PregnancyStatus", status)) == found


def test_a_word_said_in_many_series_is_one_reason() -> None:
    """Twenty series of one protocol name would fill the report."""
    many = [image("SeriesDescription", f"silicone {n}") for n in range(9)]
    places = [image(k, "implant") for k in ("StudyDescription", "ProtocolName", "PatientComments", "ReasonForStudy")]
    (reason,) = exclusions.stated([*many, *places], SHIPPED)
    assert reason.text.count("SeriesDescription") == 1
    assert reason.text.count(" in ") == 1 + exclusions.MOST_NAMED  # "in words", then the places
    assert reason.text.endswith("and 2 more).")


def test_advice_is_withheld_for_it() -> None:
    """A low score after surgery is a score that nobody evaluated."""
    reasons = exclusions.stated([requested("Z.n. OP, Brustimplantat")], SHIPPED)
    given = advise(replace(test_advice.case(), exclusions=reasons))
    assert given.value == "WITHHELD"
    assert given.reasons == reasons
    assert [r.code for r in reasons] == ["EXCLUDED_SURGERY_OR_RADIOTHERAPY", "EXCLUDED_IMPLANT"]


def test_only_mr_images_speak() -> None:
    """A report that arrives later must not change what the same images gave: one image for each MR series."""

    def instance(n: int, series: str, sop_class: str) -> Instance:
        return Instance(Path(f"{n}"), f"2.25.{n}", sop_class, series, "2.25.9", {})

    of_one_series = [instance(n, "2.25.10", MRImageStorage) for n in (1, 2)]
    others = [instance(3, "2.25.11", ComprehensiveSRStorage), instance(4, "2.25.12", MRImageStorage)]
    study = Study("2.25.9", (*of_one_series, *others))
    assert [i.sop_instance_uid for i in exclusions.one_of_each_series(study)] == ["2.25.1", "2.25.4"]


# ------------------------------------------------------------------ a site's own words
def test_a_site_adds_words_and_phrases(tmp_path: Path) -> None:
    """The shipped lists stay; the site's are joined to them."""
    site = tmp_path / "exclusions.toml"
    site.write_text('[implant]\nwords = ["Einlage*"]\nharmless = ["keine implantate laut bogen"]\n', encoding="utf-8")
    ours = exclusions.load(site)
    said = [requested("Brusteinlagen"), requested("Einlagen"), requested("Keine Implantate laut Bogen")]
    assert [bool(exclusions.stated([header], ours)) for header in said] == [False, True, False]
    assert exclusions.stated([requested("implant")], ours)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("[implants]\nwords = []\n", "line 1", "implants"),
        ("[implant]\nwords = ['x']\n", "line 2", "'x' would be found everywhere"),
        ("[implant]\n\nwords = ['*']\n", "line 3", "'*' would be found everywhere"),
        ("[implant]\nwords = 'implant'\n", "line 2", "must be a list"),
        ("[implant]\nin_names = 'no'\n", "line 2", "must be true or false"),
        ("[implant]\nword = []\n", "line 2", "implant.word"),
        ("[implant]\nwords = [,]\n", "line 2", "not TOML"),
    ],
)
def test_a_slip_of_a_site_is_named_by_file_and_line(tmp_path: Path, text: str, line: str, key: str) -> None:
    """A list that cannot be read would withhold nothing, without a word."""
    site = tmp_path / "own.toml"
    site.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        exclusions.load(site)
    assert all(part in str(error.value) for part in ("own.toml", line, key))


def test_what_a_reason_says_gives_no_relief() -> None:
    """It is printed in the report, with the name of its kind and the word that was found."""
    for exclusion in SHIPPED:
        assert relief.found(exclusion.name, "en") is None
    for said in SAID.values():
        for reason in exclusions.stated([image("PatientComments", said)], SHIPPED):
            assert relief.found(reason.text, "en") is None
