"""A training is the same whether it runs through, is killed and resumed, or is shared by several processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mome.cohort import Cohort
from mome.training import start
from mome.training.configuration import Configuration, ConfigurationError
from mome.training.run import TrainingError, run
from mome.training.train import train

from .small_training import STAGE, command, small_cohort, small_configuration

TWO_STAGES = """
stored = "float32"
[network]
dim = 16
heads = 2
ffn = 32
sparse_blocks = 2
soft_blocks = 2
adapter = 8
experts = 4
stem = [4, 4]
dce_canvas = [32, 16, 16]
dwi_canvas = [16, 16, 16]
t2_canvas = [32, 16, 16]
dce_pool = [1, 1, 1]
dwi_pool = [1, 1, 1]
t2_pool = [1, 1, 1]
[cohorts]
train = { folder = "train" }
validation = { folder = "validation" }
[[stages]]
name = "lesions"
lessons = [{ objective = "lesions" }]
steps = 6
batch = 4
rate = 1e-3
clip = 1.0
augmentation = "mirrored-shifted"
[[stages]]
name = "score"
lessons = [{ fewer = 0.6, lesions = 0.7, attributes = 0.5 }, { objective = "lesions", weight = 0.7 }]
steps = 14
batch = 4
accumulate = 2
rate = 1e-3
drop_path = 0.2
augmentation = "mirrored-shifted"
validate_every = 5
[selection]
cohort = "validation"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cohorts "train" and "validation", exams of both with missing sequences, and a configuration of two stages."""
    place = tmp_path_factory.mktemp("training")
    small_cohort(place / "train", incomplete=True)
    small_cohort(place / "validation", seed=1, incomplete=True)
    (place / "two-stages.toml").write_text(TWO_STAGES)
    return place


@pytest.fixture(scope="module")
def cohorts(folder: Path) -> dict[str, Cohort]:
    return start.cohorts(
        small_configuration(cohorts={n: {"folder": folder / n} for n in ("train", "validation")}), folder, print
    )


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mome.training.train", "mome.training.curves", "torch.distributed"])


def begun(config: Path, out: Path, *options: str, **environment: str) -> BaseProcess:
    """`mome train` in a process of its own, with one thread."""
    arguments = ["train", "--config", config, "--out", out, "--threads", "1", "--device", "cpu", *options]
    process = PROCESSES.Process(target=command, args=([str(word) for word in arguments], environment))
    process.start()
    return process


def ended(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(240)
        assert process.exitcode == 0


def killed_after(process: BaseProcess, state: Path, changes: int) -> None:
    """SIGKILL once the state was written so many times more."""
    seen, before = 0, state.stat().st_mtime_ns if state.exists() else 0
    while seen < changes:
        assert process.is_alive(), "it ended before it was killed"
        now = state.stat().st_mtime_ns if state.exists() else before
        seen, before = seen + (now != before), now
        time.sleep(0.002)
    process.kill()
    process.join()


def test_killed_twice_and_resumed_it_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    """A training of days must survive a reboot, and nobody may be able to tell from the weights that there was one."""
    config, out = folder / "two-stages.toml", tmp_path / "killed"
    whole = begun(config, tmp_path / "whole")
    killed_after(begun(config, out, "--save-every", "0"), out / "state.safetensors", 4)
    killed_after(begun(config, out, "--save-every", "0", "--resume"), out / "state.safetensors", 8)
    assert not (out / "weights.safetensors").exists()
    ended(whole, begun(config, out))
    one, other = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed"))
    assert hashlib.sha256(one).hexdigest() == hashlib.sha256(other).hexdigest()
    curves = [(tmp_path / name / "curves.csv").read_text().splitlines() for name in ("whole", "killed")]
    assert [line.split(",")[:3] for line in curves[0]] == [line.split(",")[:3] for line in curves[1]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def test_two_processes_learn_what_one_learns(folder: Path, tmp_path: Path) -> None:
    """Under torchrun (which sets these variables) each process computes half of every batch; the gradient is that of
    the whole.

    Biases of the keys are left out: they change no attention, their gradient is nothing but rounding.
    """
    text = (folder / "two-stages.toml").read_text().split("[[stages]]")[0]
    stage = '[[stages]]\nname = "s"\nsteps = 4\nbatch = 4\naccumulate = 2\nrate = 1e-3\n[selection]\nkeep = "last"\n'
    config = folder / "one-stage.toml"
    config.write_text(text + stage)
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    two = [begun(config, tmp_path / "two", RANK=rank, LOCAL_RANK=rank, **group) for rank in "01"]
    ended(begun(config, tmp_path / "one"), *two)
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert {name for name in one if (one[name] - other[name]).abs().max() > 1e-5 and ".k_proj." not in name} == set()


def test_a_state_of_another_configuration_is_refused(folder: Path, cohorts: dict[str, Cohort], tmp_path: Path) -> None:
    """Going on with another learning rate would give weights that no configuration describes."""
    config = small_configuration()
    run(start.objective(config, torch.device("cpu")), config, cohorts, tmp_path)
    other = small_configuration(stages=[STAGE | {"rate": 2e-3}])
    with pytest.raises(ConfigurationError, match=r"stages.0.rate 0.001, now 0.002"):
        run(start.objective(other, torch.device("cpu")), other, cohorts, tmp_path)


def test_a_cohort_that_changed_is_another_training(folder: Path, tmp_path: Path) -> None:
    """The folder has the same name and holds other exams."""
    small_cohort(tmp_path / "train")
    config = small_configuration(cohorts={"train": {"folder": tmp_path / "train"}})
    train(config, tmp_path / "out", say=lambda text: None)
    (tmp_path / "train").rename(tmp_path / "before")
    small_cohort(tmp_path / "train", seed=5)
    with pytest.raises(ConfigurationError, match=r"cohorts.train '[0-9a-f]{64}', now"):
        train(config, tmp_path / "out", say=lambda text: None)


def test_resume_demands_a_state(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no state"):
        train(small_configuration(), tmp_path, must_resume=True)


def test_the_best_validated_values_are_kept(cohorts: dict[str, Cohort], tmp_path: Path) -> None:
    """As in the paper: every epoch is validated, the best one counts, not the last."""
    config = small_configuration(
        stages=[STAGE | {"steps": 8, "rate": 1e-4, "final_rate": 1.0, "validate_every": 1}],
        cohorts={n: {"folder": n} for n in ("train", "validation")},
        selection={"cohort": "validation", "keep": "best", "figure": "log_loss"},
    )
    objective = start.objective(config, torch.device("cpu"))
    outcome = run(objective, config, cohorts, tmp_path, validation=cohorts["validation"])
    looks = [row["log_loss"] for row in outcome.curves if "log_loss" in row]
    assert min(looks) < looks[-1]
    with torch.inference_mode():
        score = objective.scores(cohorts["validation"])["at hand"]
    right = np.where(cohorts["validation"].malignant, score, 1 - score)
    assert -np.log(right).mean() == pytest.approx(min(looks), abs=1e-6)


def test_a_loss_that_is_no_number_ends_the_training(cohorts: dict[str, Cohort], tmp_path: Path) -> None:
    """Weights full of NaN would be noticed only by those who use them."""
    config = small_configuration()
    objective = start.objective(config, torch.device("cpu"))
    torch.nn.init.constant_(objective.network.head.weight, float("nan"))
    with pytest.raises(TrainingError, match="lower `rate`"):
        run(objective, config, cohorts, tmp_path)


def test_what_a_training_leaves(folder: Path, tmp_path: Path) -> None:
    """Weights that the node opens, without operating points; the exams seen; curves for people and for programs."""
    from mome import weights
    from mome.evaluation import separation

    config = Configuration.model_validate(
        small_configuration().model_dump()
        | {"cohorts": {n: {"folder": folder / n} for n in ("train", "validation")}}
        | {"selection": {"cohort": "validation"}, "stages": [STAGE | {"validate_every": 3}]}
    )
    said = train(config, tmp_path, say=lambda text: None)
    header = weights.read_header(tmp_path / "weights.safetensors")
    assert said.startswith(header.card["weights_sha256"])
    assert header.card["operating_points"] == []
    assert "synthetic" in header.card["trained_on"]
    seen = separation.read(tmp_path / "seen.csv")
    assert {exam.kind for exam in seen} == {"training", "validation"}
    assert len(seen) == 48
    with pytest.raises(separation.SeparationError):
        separation.check(start.cohorts(config, tmp_path, print)["train"], seen)
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert train(config, tmp_path, say=lambda text: None) == said, "finished: nothing is trained again"
