"""A weights file is used whole and unaltered, or not at all; its card is read without torch."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from mome.commands.main import main
from mome.config import DEMONSTRATION, PreprocessingConfig
from mome.evaluation import separation
from mome.network import Mome, is_backbone
from mome.tasks import TASKS, TaskName
from mome.weights import (
    DEMONSTRATION_WEIGHTS,
    WeightsError,
    load,
    load_family,
    read_card,
    read_header,
    save,
    sha256,
    verify,
    weights_file,
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save(path, Mome(DEMONSTRATION), PreprocessingConfig(), {"name": "MOME", "status": "untrained"})
    return path


def rewritten(path: Path, change: str) -> None:
    """The file with other tensors but the same header texts, and its hash noted anew."""
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    if change == "missing":
        del tensors["head.weight"]
    elif change == "unexpected":
        tensors["tail.weight"] = torch.zeros(1)
    elif change == "shape":
        tensors["head.weight"] = torch.zeros(3, DEMONSTRATION.dim)
    elif change == "further":
        del tensors["pcr/head.bias"]
    elif change == "unknown task":
        tensors["her2/head.bias"] = torch.zeros(2)
    else:
        tensors["head.bias"] = torch.full((2,), float("nan"))
    save_file(tensors, path, metadata)
    path.with_name(path.name + ".sha256").write_text(f"{sha256(path)}  {path.name}\n")


def test_what_was_saved_is_loaded(saved: Path) -> None:
    """Half precision on disk, single in memory; card and configurations come back with the file's own hash."""
    network, header = load(saved)
    assert header.network == DEMONSTRATION
    assert header.preprocessing == PreprocessingConfig()
    assert header.card == {"name": "MOME", "status": "untrained", "weights_sha256": sha256(saved)}
    torch.manual_seed(0)
    for name, tensor in Mome(DEMONSTRATION).state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor.half().float())
    assert saved.stat().st_size < 5 * 2**20


def test_an_altered_file_is_refused(saved: Path) -> None:
    """One flipped bit in a tensor changes scores silently; the noted hash shows it."""
    content = bytearray(saved.read_bytes())
    content[-100] ^= 1
    saved.write_bytes(content)
    for use in (verify, load, read_card):
        with pytest.raises(WeightsError, match="altered"):
            use(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", r"1 missing \(head.weight\)"),
        ("unexpected", r"1 unexpected \(tail.weight\)"),
        ("shape", r"1 of another shape \(head.weight: \(3, 96\), wanted \(2, 96\)\)"),
        ("nan", r"not numbers \(head.bias\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved: Path, change: str, said: str) -> None:
    """The published loader prints such things and goes on with random weights; this one does not."""
    rewritten(saved, change)
    with pytest.raises(WeightsError, match=said):
        load(saved)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 200, b"PK\x03\x04" + b"\0" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Never unpickled, never guessed: only safetensors with a header of ours."""
    path = tmp_path / "model.th"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        load(path)


def test_a_file_cut_short_is_refused(saved: Path) -> None:
    saved.with_name(saved.name + ".sha256").unlink()
    saved.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="cut short"):
        load(saved)


def test_the_same_weights_give_the_same_file(saved: Path) -> None:
    """Results are identified by the hash of the weights: two sites with one checkpoint must have one hash."""
    digest = sha256(saved)
    network, header = load(saved)
    card = {name: value for name, value in header.card.items() if name != "weights_sha256"}
    assert save(saved, network, header.preprocessing, card) == digest
    assert save(saved, network, header.preprocessing, {**card, "version": "2"}) != digest


def test_single_precision_is_kept_where_it_is_asked_for(saved: Path) -> None:
    """Halved, imported weights would no longer give the logits of their checkpoint."""
    torch.manual_seed(1)
    network = Mome(DEMONSTRATION)
    save(saved, network, PreprocessingConfig(), {"name": "MOME"}, dtype="float32")
    again = load(saved)[0].state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())


def test_numbers_that_half_precision_cannot_hold_are_not_written(saved: Path) -> None:
    network, before = Mome(DEMONSTRATION), saved.read_bytes()
    torch.nn.init.constant_(network.head.bias, 1e6)
    with pytest.raises(WeightsError, match=r"head\.bias holds values that are no numbers in float16"):
        save(saved, network, PreprocessingConfig(), {"name": "MOME"})
    assert saved.read_bytes() == before


def test_a_file_is_written_whole_or_not_at_all(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of writing: the node still has the weights that it had."""

    def full(_: int) -> None:
        raise OSError("No space left on device")

    before = verify(saved)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(saved, Mome(DEMONSTRATION), PreprocessingConfig(), {"name": "MOME"})
    assert verify(saved) == before
    assert sorted(p.name for p in saved.parent.iterdir()) == ["mine.safetensors", "mine.safetensors.sha256"]


def test_others_may_read_what_one_wrote(saved: Path) -> None:
    """An administrator imports, the node runs under an account of its own."""
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_shared_backbone_is_stored_once(tmp_path: Path) -> None:
    """Two thirds of a paper-size file would repeat the rest."""
    path, shared = tmp_path / "shared.safetensors", dataclasses.replace(DEMONSTRATION, shared_backbone=True)
    network = Mome(shared)
    save(path, network, PreprocessingConfig(), {"name": "MOME"}, dtype="float32")
    stored = load_file(path)
    assert not [name for name in stored if is_backbone(name) and (".B." in name or ".C." in name)]
    again, header = load(path)
    assert header.network == shared
    assert again.state_dict().keys() == network.state_dict().keys() > stored.keys()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in network.state_dict().items())


def test_files_that_do_not_say_hold_three_backbones(saved: Path) -> None:
    """Version 0.1 knew nothing of shared backbones, and wrote the parts of its header by themselves."""
    content = saved.read_bytes()
    size = int.from_bytes(content[:8], "little")
    said = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["mome"])
    del said["network"]["shared_backbone"]
    parts = {part: json.dumps(said[part]) for part in ("network", "preprocessing", "card")}
    saved.with_name(saved.name + ".sha256").unlink()
    save_file({name: tensor.clone() for name, tensor in load_file(saved).items()}, saved, parts)
    header = load(saved)[1]
    assert header.network == DEMONSTRATION
    assert header.tasks.keys() == {"malignancy"}


# ------------------------------------------------------------------ several tasks
@pytest.fixture
def family() -> dict[TaskName, Mome]:
    """Trained further from malignancy: the head of both, for complete response also an adapter."""
    torch.manual_seed(0)
    malignancy = Mome(dataclasses.replace(DEMONSTRATION, shared_backbone=True))
    networks: dict[TaskName, Mome] = {"pcr": copy.deepcopy(malignancy), "tnbc": copy.deepcopy(malignancy)}
    for number, network in enumerate(networks.values()):
        torch.nn.init.constant_(network.head.bias, 1.0 + number)
    torch.nn.init.constant_(networks["pcr"].beit3.encoder.layers[0].MLP_Adapter["B"].norm.weight, 3.0)
    return {"malignancy": malignancy, **networks}


@pytest.fixture
def family_file(tmp_path: Path, family: dict[TaskName, Mome]) -> Path:
    path = tmp_path / "family.safetensors"
    card = {"name": "MOME", "targets": [task.target() for task in TASKS.values()]}
    save(path, family, PreprocessingConfig(), card, dtype="float32")
    return path


def test_networks_of_several_tasks_come_back_from_one_file(family_file: Path, family: dict[TaskName, Mome]) -> None:
    networks, header = load_family(family_file)
    assert list(networks) == list(header.tasks) == ["malignancy", "tnbc", "pcr"]
    for task, network in networks.items():
        assert not network.training
        for name, tensor in family[task].state_dict().items():
            assert torch.equal(network.state_dict()[name], tensor), (task, name)
    alone = load(family_file)[0].state_dict()
    assert all(torch.equal(alone[name], tensor) for name, tensor in family["malignancy"].state_dict().items())


def test_what_tasks_have_in_common_is_there_once(family_file: Path) -> None:
    """On disk and in memory: at the paper's size three networks apart would take three times half a gigabyte."""
    further = {name for name in load_file(family_file) if "/" in name}
    adapter = "pcr/beit3.encoder.layers.0.MLP_Adapter.B.norm.weight"
    assert further == {"tnbc/head.bias", "pcr/head.bias", adapter}
    networks, _ = load_family(family_file)
    first, second = (dict(networks[task].named_parameters()) for task in ("malignancy", "pcr"))
    assert {f"pcr/{name}" for name in first if first[name] is not second[name]} == {"pcr/head.bias", adapter}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("further", "holds 1 tensors of the task pcr; it says that there are 2"),
        ("unknown task", r"1 unexpected \(her2/"),
    ],
)
def test_a_task_that_is_incomplete_is_refused(family_file: Path, change: str, said: str) -> None:
    """A tensor of pCR that is lost would be malignancy's, without a word."""
    rewritten(family_file, change)
    for use in (load, load_family):
        with pytest.raises(WeightsError, match=said):
            use(family_file)


def test_what_cannot_be_one_file_is_said_before_writing(tmp_path: Path, family: dict[TaskName, Mome]) -> None:
    path = tmp_path / "family.safetensors"
    with pytest.raises(ValueError, match="malignancy must be there"):
        save(path, {"tnbc": family["tnbc"]}, PreprocessingConfig(), {"name": "MOME"})
    with pytest.raises(ValueError, match="one configuration"):
        save(path, {**family, "pcr": Mome(DEMONSTRATION)}, PreprocessingConfig(), {"name": "MOME"})
    with pytest.raises(ValueError, match="card declares malignancy"):
        save(path, family, PreprocessingConfig(), {"name": "MOME", "targets": [TASKS["malignancy"].target()]})
    assert not path.exists()


def test_codes_fit_into_reports() -> None:
    """VR SH and LO: at most 16 and 64 characters (PS3.5 6.2); private codes under one scheme."""
    for task in TASKS.values():
        value, scheme, meaning = task.code
        assert len(value) <= 16
        assert scheme in ("DCM", "SCT", "99BMRAI")
        assert len(meaning) <= 64


@pytest.mark.parametrize(
    ("arguments", "said"), [(["show"], '"name": "tnbc"'), (["verify"], "complete: malignancy, tnbc, pcr")]
)
def test_the_command_looks_at_all_tasks(family_file: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["weights", *arguments, str(family_file)])
    assert result.exit_code == 0
    assert said in result.output
    rewritten(family_file, "further")
    assert CliRunner().invoke(main, ["weights", "verify", str(family_file)]).exit_code == 1


OTHER_VOLUMES: list[tuple[dict[str, Any], str]] = [
    ({"dce_canvas": (96, 48, 48)}, r"dce_canvas of the network \(96, 48, 32\), of the preprocessing \(96, 48, 48\)"),
    ({"dwi_canvas": (48, 48, 32)}, "dwi_canvas of the network"),
    ({"t2_canvas": (48, 96, 32)}, "t2_canvas of the network"),
    ({"channels": 5}, "channels of the DCE of the network 6, of the preprocessing 5"),
]


@pytest.mark.parametrize(("change", "said"), OTHER_VOLUMES)
def test_a_network_goes_with_its_own_preprocessing_alone(saved: Path, change: dict[str, Any], said: str) -> None:
    """Else the first exam of a patient would be the first to show it, not the file."""
    before, other = saved.read_bytes(), dataclasses.replace(PreprocessingConfig(), **change)
    with pytest.raises(ValueError, match=said):
        save(saved, Mome(DEMONSTRATION), other, {"name": "MOME"})
    assert saved.read_bytes() == before
    size = int.from_bytes(before[:8], "little")
    entry = json.loads(json.loads(before[8 : 8 + size])["__metadata__"]["mome"])
    entry["preprocessing"] |= change
    saved.with_name(saved.name + ".sha256").unlink()
    save_file({name: tensor.clone() for name, tensor in load_file(saved).items()}, saved, {"mome": json.dumps(entry)})
    with pytest.raises(WeightsError, match=f"mine.safetensors contradicts itself: {said}"):
        read_header(saved)


def test_a_path_may_be_a_string(saved: Path) -> None:
    assert verify(str(saved)) == read_header(str(saved)).card["weights_sha256"] == sha256(saved)
    assert load(str(saved))[1] == load_family(str(saved))[1] == read_header(saved)


def test_no_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There are no weights"):
        load(tmp_path / "nothing.safetensors")


def test_the_card_is_read_without_torch() -> None:
    """The command line and the receivers show the model's identity; loading torch for that takes seconds and memory."""
    program = (
        "import sys; from mome.weights import read_card, DEMONSTRATION_WEIGHTS;"
        "card = read_card(DEMONSTRATION_WEIGHTS); assert 'torch' not in sys.modules; print(card['status'])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "not for clinical use" in said


def test_the_demonstration_card_says_what_the_weights_are() -> None:
    """Whoever reads a result must learn that no patient was ever involved."""
    card = read_card(DEMONSTRATION_WEIGHTS)
    assert card["status"] == "demonstration weights, trained on synthetic phantoms, not for clinical use"
    assert card["evaluated_on_patients"] is False
    assert "auxiliary targets" in card["trained_on"]
    assert card["weights_sha256"] == sha256(weights_file(DEMONSTRATION_WEIGHTS))
    assert weights_file(DEMONSTRATION_WEIGHTS).stat().st_size < 5 * 2**20
    assert card["operating_points"], "the node has a point to show, and none to advise by"
    for point in card["operating_points"]:
        assert point["claim"]["supported"] is False
        assert "synthetic" in point["cohort"]
        assert point["cancers_at_or_below"] <= 0.02 * point["cancers"]
        assert point["cancers_at_or_below"] / point["cancers"] < point["upper_limit_95"] < 0.1
        assert point["key"]["preprocessing"] == PreprocessingConfig().hash()
        assert "dce" in point["key"]["sequences"]


def test_the_demonstration_folder_is_whole_and_knows_what_it_saw() -> None:
    """Every file is the one that was written; training, choice and tuning stand in the record, and no exam in two."""
    verify(DEMONSTRATION_WEIGHTS)
    record = separation.record_of(DEMONSTRATION_WEIGHTS)
    assert record is not None
    seen = separation.read(record)
    assert Counter(exam.kind for exam in seen) == {"training": 4600, "validation": 240, "tuning": 600}
    assert len({exam.study for exam in seen}) == len(seen)


def test_the_weights_belong_to_this_preprocessing() -> None:
    """Weights trained behind other constants would be scored on pictures they never saw."""
    _, header = load(DEMONSTRATION_WEIGHTS)
    assert header.preprocessing == PreprocessingConfig()
    assert header.network == DEMONSTRATION
    assert header.card["preprocessing"]["hash"] == PreprocessingConfig().hash()
