"""What a cohort tells of weights enters their card, bound by hashes; nothing else about the weights changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from mome.card import CONTRAST_LIMITS, imported_card, limits_from
from mome.cohort import Case, Cohort, Row
from mome.cohort import load as load_cohort
from mome.cohort import write as write_cohort
from mome.commands.main import main
from mome.config import DEMONSTRATION, PreprocessingConfig
from mome.distributions import groups_of, of_groups
from mome.evaluation import separation
from mome.evaluation.scoring import scored_cohort
from mome.network import Mome
from mome.range_of_cohort import evaluated_range
from mome.tasks import TaskName
from mome.weights import (
    DEMONSTRATION_WEIGHTS,
    load,
    read_card,
    rewrite,
    save,
    sha256,
    tensors_sha256,
    weights_file,
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save(path, Mome(DEMONSTRATION), PreprocessingConfig(), {"name": "MOME", "status": "untrained"})
    return path


def mome_weights(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


def test_a_card_changes_and_no_tensor_does(saved: Path, tmp_path: Path) -> None:
    """Half-precision numbers stay as they are stored; the hash of the file is that of its card, too."""
    out = tmp_path / "out.safetensors"
    digest = rewrite(saved, out, {**read_card(saved), "version": "2"})
    assert digest == read_card(out)["weights_sha256"] != read_card(saved)["weights_sha256"]
    assert read_card(out)["version"] == "2"
    assert tensors_sha256(out) == tensors_sha256(saved)
    again, before = load_file(out), load_file(saved)
    assert all(again[n].dtype == before[n].dtype and torch.equal(again[n], before[n]) for n in before)


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Weights whose card is that of an import."""
    torch.manual_seed(0)
    path = tmp_path / "imported.safetensors"
    origin: dict[TaskName, dict[str, str]] = {"malignancy": {"file": "model.th", "sha256": "0" * 64}}
    save(path, Mome(DEMONSTRATION), PreprocessingConfig(), imported_card(PreprocessingConfig(), origin))
    return path


def report(path: Path, weights: Path, low: float | None = 0.81, **changes: Any) -> Path:
    """What `mome evaluate --json` prints, cut down."""
    told = {
        "cohort": "hospital A, 2021",
        "synthetic": False,
        "n": 212,
        "malignant": 90,
        "auroc": {"estimate": 0.86, "ci95": [low, 0.91]},
        "weights_sha256": sha256(weights),
        "about": {"cohort_identity": "c0ffee", "preprocessing": PreprocessingConfig().hash()},
    }
    path.write_text(json.dumps(told | changes))
    return path


def test_imported_weights_are_unverified_until_an_evaluation_is_bound_to_them(imported: Path, tmp_path: Path) -> None:
    """By hash, with its figures; the operating point is another step, on another cohort."""
    assert "preprocessing unverified" in read_card(imported)["status"]
    evaluation, out = report(tmp_path / "evaluation.json", imported), tmp_path / "bound.safetensors"
    result = mome_weights("bind", "--weights", imported, "--evaluation", evaluation, "--out", out)
    assert result.exit_code == 0, result.output
    card = read_card(out)
    assert card["status"] == (
        "imported weights, evaluated: AUROC 0.86 (0.81 to 0.91) on 212 exams: hospital A, 2021; not for clinical use"
    )
    assert card["evaluated_on_patients"] is True
    assert card["operating_points"] == []
    (bound,) = card["evaluations"]
    assert bound["weights_sha256"] == sha256(imported)
    assert bound["evaluation_sha256"] == sha256(evaluation)
    assert bound["cohort_identity"] == "c0ffee"
    assert mome_weights("verify", out).exit_code == 0


@pytest.mark.parametrize(
    ("changes", "patients", "said"),
    [
        ({"low": 0.45}, False, "preprocessing unverified; not above chance: AUROC 0.86 (0.45 to 0.91)"),
        ({"low": None}, False, "preprocessing unverified; not above chance: AUROC 0.86 (? to 0.91)"),
        ({"synthetic": True}, False, "212 synthetic exams"),
    ],
)
def test_what_shows_nothing_about_patients_claims_nothing(
    imported: Path, tmp_path: Path, changes: dict[str, Any], patients: bool, said: str
) -> None:
    """A preprocessing that does not fit gives chance; phantoms are no patients."""
    evaluation, out = report(tmp_path / "evaluation.json", imported, **changes), tmp_path / "bound.safetensors"
    assert mome_weights("bind", "--weights", imported, "--evaluation", evaluation, "--out", out).exit_code == 0
    card = read_card(out)
    assert card["evaluated_on_patients"] is patients
    assert said in card["status"]


def test_demonstration_weights_stay_what_they_are(tmp_path: Path) -> None:
    """No evaluation makes weights that were trained on phantoms weights for patients."""
    evaluation = report(tmp_path / "evaluation.json", weights_file(DEMONSTRATION_WEIGHTS))
    out = tmp_path / "bound.safetensors"
    assert (
        mome_weights("bind", "--weights", DEMONSTRATION_WEIGHTS, "--evaluation", evaluation, "--out", out).exit_code
        == 0
    )
    before, after = read_card(DEMONSTRATION_WEIGHTS), read_card(out)
    assert after["status"] == before["status"]
    assert after["evaluated_on_patients"] is False
    assert after["evaluations"][-1]["cohort"] == "hospital A, 2021"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights_sha256": "f" * 64}, "about other weights"),
        ({"about": {"preprocessing": "f" * 64}}, "behind another preprocessing"),
        ({"auroc": {}}, "lacks cohort, synthetic, n or auroc"),
    ],
)
def test_an_evaluation_of_something_else_is_not_bound(
    imported: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    evaluation, out = report(tmp_path / "evaluation.json", imported, **changes), tmp_path / "bound.safetensors"
    result = mome_weights("bind", "--weights", imported, "--evaluation", evaluation, "--out", out)
    assert result.exit_code == 1
    assert said in result.output
    assert not out.exists()


def test_an_evaluation_cannot_be_carried_to_other_weights(imported: Path, tmp_path: Path) -> None:
    """Trained further under the old card, they would show figures that are not theirs."""
    evaluation, out = report(tmp_path / "evaluation.json", imported), tmp_path / "bound.safetensors"
    mome_weights("bind", "--weights", imported, "--evaluation", evaluation, "--out", out)
    network, header = load(out)
    torch.nn.init.zeros_(network.head.bias)
    card = {name: value for name, value in header.card.items() if name != "weights_sha256"}
    save(out, network, header.preprocessing, card)
    result = mome_weights("verify", out)
    assert result.exit_code == 1
    assert "states an evaluation (hospital A, 2021) that is of other weights" in result.output


def test_distributions_of_scores_and_quality_enter_the_card(synthetic_cohort: Cohort, tmp_path: Path) -> None:
    """The drift watch holds a hospital's exams against them; the limits of quality lie a little beyond."""
    cohort_folder = synthetic_folder(synthetic_cohort, tmp_path)
    out = tmp_path / "out.safetensors"
    result = mome_weights("distributions", "--cohort", cohort_folder, "--out", out)
    assert result.exit_code == 0, result.output
    told = read_card(out)["distributions"]
    assert told["cohort"]["identity"] == load_cohort(cohort_folder).identity
    assert told["cohort"]["words"] == "few (8 synthetic exams)"
    network, few = load(DEMONSTRATION_WEIGHTS)[0], load_cohort(cohort_folder)
    for name in (("dce",), ("dce", "dwi", "t2")):
        scores = scored_cohort(network, few)[name]
        entry = told["score"]["+".join(name)]
        assert entry["n"] == np.isfinite(scores).sum()
        assert entry["quantiles"]["0.5"] == pytest.approx(np.nanmedian(scores), abs=1e-6)
    assert told["quality"]["motion_mm"]["n"] == 7
    assert told["quality"]["motion_mm"]["quantiles"].keys() == {"0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"}
    limits = read_card(out)["quality_limits"]
    assert limits["motion_mm"]["high"] == pytest.approx(0.694 + 0.294, abs=0.02)
    assert limits["fat_signal"] == read_card(DEMONSTRATION_WEIGHTS)["quality_limits"]["fat_signal"], "not measured here"


def test_the_record_of_exams_seen_goes_with_the_weights(
    imported: Path, synthetic_cohort: Cohort, tmp_path: Path
) -> None:
    """Under a new card they have seen the same exams, and those of tuning too: an evaluation must find them."""
    separation.write(tmp_path / "imported.seen.csv", separation.exams(synthetic_cohort.part([9, 10]), "training"))
    folder, first, second = (
        synthetic_folder(synthetic_cohort, tmp_path),
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
    )
    result = mome_weights("distributions", "--weights", imported, "--cohort", folder, "--out", first)
    assert result.exit_code == 0, result.output
    evaluation = report(tmp_path / "evaluation.json", first)
    assert mome_weights("bind", "--weights", first, "--evaluation", evaluation, "--out", second).exit_code == 0
    record = separation.record_of(second)
    assert record is not None
    assert [exam.kind for exam in separation.read(record)] == ["training"] * 2 + ["tuning"] * 8


def synthetic_folder(cohort: Cohort, place: Path) -> Path:
    """Eight of the exams with a table of one measure, of which one exam has none."""
    few = cohort.part(range(8))
    rows = [
        Row(case, {s: few.batch(s, slice(i, i + 1))[0] for s in case.sequences}) for i, case in enumerate(few.cases)
    ]
    folder = place / "few"
    write_cohort(folder, rows, name="few", synthetic=True, preprocessing=cohort.preprocessing, capacity=8, origin={})
    lines = [f"{case.case},{0.1 * index if index else ''}" for index, case in enumerate(few.cases)]
    (folder / "quality.csv").write_text("\n".join(["case,motion_mm", *lines]) + "\n")
    return folder


def test_limits_lie_a_little_beyond_what_a_cohort_shows() -> None:
    """As far beyond the outermost percentile as that lies from the median, a tenth of the median at least."""
    rng = np.random.default_rng(0)
    quality = {
        "motion_mm": rng.uniform(0.2, 1.2, 2000),
        "mask_volume_ml": rng.uniform(500, 1500, 2000),
        "canvas_scale": np.ones(2000),
        "phases": np.array([5.0, 6.0, 7.0, np.nan]),
        "enhancement_p99": np.full(2000, 40.0),
    }
    limits = limits_from(quality)
    assert limits["motion_mm"] == {"high": pytest.approx(1.19 + 0.49, abs=0.03)}
    assert limits["mask_volume_ml"] == {"low": pytest.approx(20, abs=30), "high": pytest.approx(1980, abs=30)}
    assert limits["canvas_scale"] == {"low": 0.9}
    assert limits["phases"] == {"low": 5.0, "high": 7.0}
    assert limits["enhancement_p99"] == CONTRAST_LIMITS["enhancement_p99"], "no cohort moves what proves contrast"


def test_sites_and_scanners_have_distributions_of_their_own() -> None:
    """Where there are enough exams of one that a percentile means something."""
    cases = [
        Case(f"c{i}", f"p{i}", "", site="A" if i < 30 else "B", vendor="V", field_strength_t=3.0) for i in range(40)
    ]
    values = np.arange(40.0)
    told = of_groups(values, groups_of(cases))
    assert told["n"] == 40
    assert {name: entry["n"] for name, entry in told["by"].items()} == {"site: A": 30, "scanner: V 3 T": 40}
    assert told["by"]["site: A"]["quantiles"]["0.5"] == 14.5


def test_the_evaluated_range_is_that_of_the_cohort(synthetic_cohort: Cohort, tmp_path: Path) -> None:
    """Of a fact that nobody noted no value counts as evaluated: the node then withholds its advice."""
    cohort = dataclasses.replace(
        synthetic_cohort.part(range(3)),
        cases=tuple(
            Case(f"c{i}", f"p{i}", "", vendor=v, field_strength_t=f, age=a)
            for i, (v, f, a) in enumerate([("V", 1.5, 41.0), ("W", 3.0, 70.0), ("V", 3.0, None)])
        ),
    )
    (tmp_path / "facts.csv").write_text("case,plane,b_value,phases\nc0,axial,800,6\nc1,axial,1000,7\n")
    told = evaluated_range(tmp_path, cohort)
    assert told["vendor"] == {"values": ["V", "W"], "n": 3}
    assert told["field_strength_t"] == {"values": [1.5, 3], "n": 3}
    assert told["age"] == {"min": 41.0, "max": 70.0, "n": 2}
    assert told["b_value"] == {"values": [1000, 800], "n": 2}
    assert told["phases"] == {"min": 6.0, "max": 7.0, "n": 2}
    assert told["laterality"] == {"values": [], "n": 0}
    assert "Not noted: laterality, last_phase_seconds." in told["note"]
