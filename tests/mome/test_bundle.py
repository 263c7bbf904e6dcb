"""A model folder holds weights with everything that belongs to them; whoever alters a byte of it is found out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from monai.bundle import load_bundle_config, verify_metadata, verify_net_in_out

from mome import bundle
from mome.bundle import BundleError, manifest, open_folder
from mome.cohort import Cohort
from mome.commands.main import main
from mome.evaluation import separation
from mome.evaluation.scoring import from_what_is_there, scored_cohort
from mome.weights import (
    DEMONSTRATION_WEIGHTS,
    WeightsError,
    load,
    load_family,
    read_card,
    read_header,
    rewrite,
    sha256,
    weights_file,
)

SHIPPED = read_card(DEMONSTRATION_WEIGHTS)["weights_sha256"]


def evaluation(weights_sha256: str = SHIPPED, **changes: Any) -> dict[str, Any]:
    """A report as `mome evaluate --json` prints it, cut down."""
    return {
        "cohort": "synthetic phantoms, of the tests",
        "synthetic": True,
        "n": 40,
        "malignant": 20,
        "auroc": {"estimate": 0.8, "ci95": [0.7, 0.9]},
        "figures": {"sensitivity": {"estimate": 0.75, "ci95": [0.6, 0.85]}},
        "about": {"cohort_identity": "c0ffee"},
        "weights_sha256": weights_sha256,
        **changes,
    }


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, synthetic_cohort: Cohort) -> Path:
    """The shipped weights with the record of a training and one evaluation, as a folder."""
    place = tmp_path_factory.mktemp("model")
    training = place / "training"
    training.mkdir()
    shutil.copy(weights_file(DEMONSTRATION_WEIGHTS), training / "weights.safetensors")
    separation.write(training / "seen.csv", separation.exams(synthetic_cohort, "training"))
    written(training / "run.json", {"seconds": 60, "configuration": {"seed": 0, "cohorts": {"train": "/secret"}}})
    report = written(place / "evaluation.json", evaluation())
    bundle.write(place / "made", DEMONSTRATION_WEIGHTS, training=training, evaluations=[report])
    return place / "made"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "folder")


def mome(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, list(map(str, arguments)))


# ------------------------------------------------------------------ what is in it
def test_everything_that_belongs_to_the_weights_is_there(made: Path) -> None:
    """Whoever gets the folder needs nothing else to judge or to run them."""
    opened = open_folder(made)
    configs = {f"configs/{n}.json" for n in ("metadata", "inference", "network", "preprocessing", "labels", "card")}
    others = {"models/model.safetensors", "docs/README.md", "evaluation/01.json", "seen.csv", "training/run.json"}
    assert opened.files.keys() == configs | others
    assert opened.identity == hashlib.sha256((made / "manifest.json").read_bytes()).hexdigest()
    labels = json.loads((made / "configs" / "labels.json").read_text())
    assert labels["malignancy"]["classes"] == {"0": "benign", "1": "malignant"}
    run = json.loads((made / "training" / "run.json").read_text())
    assert run == {"seconds": 60, "configuration": {"seed": 0}}, "no folder of the machine that it ran on"


def test_the_weights_keep_their_identity(made: Path) -> None:
    """The node's results are identified by the hash of the weights: in a folder they are the same weights."""
    assert read_card(made)["weights_sha256"] == SHIPPED == sha256(made / "models" / "model.safetensors")
    assert read_header(made) == read_header(DEMONSTRATION_WEIGHTS)


def test_a_folder_is_weights_everywhere(made: Path) -> None:
    shipped = load(DEMONSTRATION_WEIGHTS)[0].state_dict()
    for network in (load(made)[0], load_family(str(made))[0]["malignancy"]):
        assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in shipped.items())
    assert separation.record_of(made) == made / "seen.csv", "an evaluation finds what they saw"


def test_the_card_for_people_says_what_a_reader_must_know(made: Path) -> None:
    page = (made / "docs" / "README.md").read_text()
    for said in (
        "not for clinical use",
        "Evaluated on patients: no",
        "synthetic phantoms, of the tests: 40 synthetic exams, no patients",
        "| sensitivity | 0.750 | 0.600 to 0.850 |",
        "## Operating points",
        "## Evaluated range",
        "## Limits of use",
        SHIPPED,
    ):
        assert said in page


def test_the_same_content_is_the_same_folder(made: Path, tmp_path: Path) -> None:
    """Two sites that wrote it find by one hash that they have the same."""
    one = bundle.write(tmp_path / "one", made, evaluations=[made / "evaluation" / "01.json"])
    other = bundle.write(tmp_path / "other", made, evaluations=[made / "evaluation" / "01.json"])
    assert one == other != open_folder(made).identity


def test_the_folder_is_opened_without_torch(made: Path) -> None:
    program = f"import sys; from mome.weights import read_card; read_card({str(made)!r}); print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


# ------------------------------------------------------------------ altered
def without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def with_link(folder: Path) -> None:
    page = folder / "docs" / "README.md"
    page.rename(folder.parent / "elsewhere.md")
    page.symlink_to(folder.parent / "elsewhere.md")


def one_bit(folder: Path) -> None:
    content = bytearray((folder / "models" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "models" / "model.safetensors").write_bytes(content)


def with_path_outside(folder: Path) -> None:
    said = json.loads((folder / "manifest.json").read_text())
    said["files"]["../elsewhere"] = "0" * 64
    written(folder / "manifest.json", said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_bit, r"altered \(changed: models/model.safetensors\)"),
        (lambda f: (f / "docs" / "README.md").write_text("evaluated on patients"), "changed: docs/README.md"),
        (lambda f: (f / "configs" / "run.py").write_text(""), "added: configs/run.py"),
        (lambda f: (f / ".hidden").write_text(""), "added: '.hidden'"),
        (lambda f: (f / "seen.csv").unlink(), "missing: seen.csv"),
        (with_link, "docs/README.md is a link"),
        (lambda f: (f / "models" / "more").symlink_to(f.parent), "models/more is a link"),
        (lambda f: os.mkfifo(f / "pipe"), "pipe is a link or no plain file"),
        (without_manifest, "no model folder"),
        (with_path_outside, "path outside"),
    ],
)
def test_an_altered_folder_is_refused_with_the_file_named(
    folder: Path, change: Callable[[Path], Any], said: str
) -> None:
    """Added, missing, changed, or leading elsewhere: in every case the words say what."""
    change(folder)
    for use in (open_folder, load, read_card, weights_file):
        with pytest.raises(WeightsError, match=said):
            use(folder)
    assert mome("weights", "verify", folder).exit_code == 1
    assert mome("bundle", "verify", folder).exit_code == 1


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("preprocessing", {"statistics": "crop"}, "configs/preprocessing.json: statistics"),
        ("card", {"operating_points": []}, "configs/card.json: operating_points"),
        ("labels", {"malignancy": {"classes": {"0": "malignant", "1": "benign"}}}, "configs/labels.json: malignancy"),
        ("metadata", {"network_data_format": {}}, "configs/metadata.json: network_data_format"),
        ("network", {"heads": 8, "more": 1}, "configs/network.json: heads, more"),
    ],
)
def test_files_that_contradict_the_header_are_refused(
    folder: Path, name: str, change: dict[str, Any], said: str
) -> None:
    """Also under a manifest that was made anew: the header of the weights is the truth, a person reads the others."""
    path = folder / "configs" / f"{name}.json"
    written(path, {**json.loads(path.read_text()), **change})
    manifest.write(folder)
    with pytest.raises(BundleError, match=f"say something else than its files.*{said}"):
        load(folder)


def test_a_missing_configuration_is_said_too(folder: Path) -> None:
    (folder / "configs" / "card.json").unlink()
    manifest.write(folder)
    with pytest.raises(BundleError, match=r"configs/card.json: not there"):
        open_folder(folder)


def test_libraries_of_another_machine_are_no_contradiction(folder: Path) -> None:
    """A folder outlives the releases of torch that it was written with."""
    path = folder / "configs" / "metadata.json"
    written(path, {**json.loads(path.read_text()), "pytorch_version": "3.0.0", "intended_use": "other words"})
    manifest.write(folder)
    assert read_card(folder)["weights_sha256"] == SHIPPED


def test_the_identity_is_what_its_maker_told(made: Path) -> None:
    """A manifest made anew fits an altered folder; its hash, told by another way, does not."""
    right, wrong = mome("bundle", "verify", made, "--identity", open_folder(made).identity), "0" * 64
    assert right.exit_code == 0
    assert "complete: malignancy" in right.output
    refused = mome("bundle", "verify", made, "--identity", wrong)
    assert refused.exit_code == 1
    assert "another model folder" in refused.output


# ------------------------------------------------------------------ writing
def test_an_evaluation_of_other_weights_is_not_taken(tmp_path: Path) -> None:
    report = written(tmp_path / "other.json", evaluation("0" * 64))
    result = mome("bundle", "write", "--evaluation", report, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "other.json is no evaluation of these weights" in result.output
    assert not (tmp_path / "out").exists()


def test_the_record_of_another_training_is_not_taken(made: Path, tmp_path: Path) -> None:
    """`seen.csv` of other weights would let an evaluation be given exams that these have seen."""
    network, header = load(made)
    torch.nn.init.zeros_(network.head.bias)
    from mome.weights import save

    training = tmp_path / "training"
    save(training / "weights.safetensors", network, header.preprocessing, {"name": "MOME"})
    shutil.copy(made / "seen.csv", training / "seen.csv")
    with pytest.raises(BundleError, match="trained other weights"):
        bundle.write(tmp_path / "out", made, training=training)
    assert not (tmp_path / "out").exists()


def test_a_changed_card_is_still_of_that_training(made: Path, tmp_path: Path) -> None:
    """Operating points and distributions come after the training: the numbers stay."""
    training = tmp_path / "training"
    training.mkdir()
    shutil.copy(made / "seen.csv", training / "seen.csv")
    shutil.copy(made / "models" / "model.safetensors", training / "weights.safetensors")
    rewrite(made, tmp_path / "frozen.safetensors", {**read_card(made), "version": "2"})
    tuning = [separation.Exam("tuning", "a" * 16, "b" * 16, "c" * 16)]
    separation.write(tmp_path / "frozen.seen.csv", tuning)
    bundle.write(tmp_path / "out", tmp_path / "frozen.safetensors", training=training)
    assert read_card(tmp_path / "out")["version"] == "2"
    seen = separation.read(tmp_path / "out" / "seen.csv")
    assert {exam.kind for exam in seen} == {"training", "validation", "tuning"}, "of both steps, together"
    assert len(seen) == len(separation.read(made / "seen.csv")) + 1


def test_a_model_folder_is_never_changed(made: Path) -> None:
    with pytest.raises(BundleError, match="is there already"):
        bundle.write(made, DEMONSTRATION_WEIGHTS)


# ------------------------------------------------------------------ as an archive
@pytest.fixture
def archive(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle.write(tmp_path / "model.zip", made)
    return tmp_path / "model.zip"


def test_an_archive_is_weights_too(archive: Path, made: Path, tmp_path: Path) -> None:
    """The same folder gives the same bytes, whatever the time."""
    assert read_card(archive)["weights_sha256"] == SHIPPED
    assert str(weights_file(archive)).startswith(str(tmp_path / "cache"))
    again = tmp_path / "again" / "model.zip"
    again.parent.mkdir()
    bundle.write(again, made)
    assert again.read_bytes() == archive.read_bytes()


def test_an_unpacked_archive_that_was_altered_is_refused(archive: Path) -> None:
    """The cache is a folder of the user's: what lies there is checked each time, against the archive."""
    unpacked = open_folder(archive).folder
    (unpacked / "docs" / "README.md").write_text("other")
    with pytest.raises(BundleError, match=r"changed: docs/README.md"):
        load(archive)
    manifest.write(unpacked)
    with pytest.raises(BundleError, match="delete that folder"):
        load(archive)


def zipped(path: Path, entries: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name == link else 0o100644) << 16
            file.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("entries", "link", "said"),
    [
        ({"a/manifest.json": b"{}", "a/../../out": b""}, "", "leads elsewhere"),
        ({"/a/manifest.json": b"{}"}, "", "leads elsewhere"),
        ({"a/manifest.json": b"{}", "a/x\\..\\y": b""}, "", "leads elsewhere"),
        ({"manifest.json": b"{}"}, "", "leads elsewhere"),
        ({"a/manifest.json": b"{}", "a/link": b"/etc/passwd"}, "a/link", "leads elsewhere"),
        ({"a/manifest.json": b"{}", "b/other": b""}, "", "not the archive of one folder"),
        ({f"a/{n}": b"" for n in range(1100)}, "", "more than 1000 files"),
    ],
)
def test_an_archive_cannot_write_outside_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: dict[str, bytes], link: str, said: str
) -> None:
    """Archives come from elsewhere; nothing is written before every name was looked at."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = zipped(tmp_path / "model.zip", entries, link)
    with pytest.raises(BundleError, match=said):
        load(path)
    assert not [*(tmp_path / "cache").rglob("*.json")]
    assert not (tmp_path / "out").exists()


def test_an_archive_too_large_is_not_unpacked(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mome.bundle.archive.MAX_UNPACKED", 1000)
    with pytest.raises(BundleError, match="unpacked it has more than"):
        load(archive)


def test_an_archive_cut_short_is_said_plainly(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(BundleError, match="no archive, or cut short"):
        load(archive)


# ------------------------------------------------------------------ MONAI
def test_monai_builds_the_network_and_gets_the_same_scores(made: Path, synthetic_cohort: Cohort) -> None:
    """By the configuration in the folder, as MONAI's own tools do it."""
    parser = load_bundle_config(str(made), "inference.json")
    parser["bundle_root"], parser["device"] = str(made), "cpu"
    network = parser.get_parsed_content("network_def")
    few = synthetic_cohort.part(range(6))
    theirs, ours = (from_what_is_there(scored_cohort(n, few)) for n in (network, load(DEMONSTRATION_WEIGHTS)[0]))
    assert (theirs == ours).all()


def test_monai_opens_the_archive(archive: Path) -> None:
    parser = load_bundle_config(str(archive), "inference.json")
    assert parser["_meta_"]["network_data_format"]["inputs"]["image"]["num_channels"] == 6


def test_monai_finds_inputs_and_outputs_as_they_are_stated(made: Path) -> None:
    """`python -m monai.bundle verify_net_in_out`: the network is fed what the metadata says."""
    verify_net_in_out(
        "network_def",
        meta_file=str(made / "configs" / "metadata.json"),
        config_file=str(made / "configs" / "inference.json"),
        device="cpu",
        bundle_root=str(made),
    )


TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "format", "dtype")},
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
TEXTS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version")
TEXTS += ("task", "description", "authors", "copyright")
SPECIFIED = {
    "type": "object",
    "required": [*TEXTS, "required_packages_version", "network_data_format"],
    "properties": {
        **{name: {"type": "string"} for name in (*TEXTS, "intended_use", "data_source", "pred_classes")},
        **{name: {"type": "object"} for name in ("changelog", "required_packages_version", "eval_metrics")},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "additionalProperties": {"type": "object", "additionalProperties": TENSOR},
        },
    },
}
"""What MONAI's specification of bundles demands of `metadata.json`. MONAI would download its own schema."""


def test_the_metadata_are_as_monai_specifies(made: Path, tmp_path: Path) -> None:
    """`python -m monai.bundle verify_metadata`, with the schema at hand and no network."""
    schema = written(tmp_path / "schema.json", SPECIFIED)
    verify_metadata(meta_file=str(made / "configs" / "metadata.json"), filepath=str(schema))


# ------------------------------------------------------------------ commands
def test_show_tells_what_it_is_in_one_look(made: Path) -> None:
    shown = json.loads(mome("bundle", "show", made).output)
    assert shown["identity"] == open_folder(made).identity
    assert shown["weights_sha256"] == SHIPPED
    assert shown["evaluations"][0]["auroc"]["estimate"] == 0.8
    assert len(shown["operating_points"]) == len(read_card(made)["operating_points"])


def test_weights_verify_checks_a_folder_whole(made: Path) -> None:
    result = mome("weights", "verify", made)
    assert result.exit_code == 0, result.output
    assert SHIPPED in result.output
