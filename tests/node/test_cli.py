"""The command line says what to do, and its exit code whether somebody must."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.node import make_study, peers

DATA = Path(__file__).parents[1] / "data"


def mome_node(*arguments: object, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    named = ["--config", str(config)] if config else []
    line = [sys.executable, "-m", "mome_node.cli", *named, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def configuration(folder: Path, *, port: int, pacs_port: int) -> Path:
    path = folder / "node.toml"
    path.write_text(
        f"""
state_folder = "{folder / "state"}"
[receiver]
port = {port}
reserve_mb = 0
[[peers]]
ae_title = "{peers.PACS}"
addresses = ["127.0.0.1"]
[[destinations]]
name = "pacs"
ae_title = "{peers.PACS}"
host = "127.0.0.1"
port = {pacs_port}
""",
        encoding="utf-8",
    )
    return path


@pytest.mark.system
def test_check_says_that_all_is_ready(tmp_path: Path, orthanc: peers.Orthanc) -> None:
    """State folder, port, model and PACS, each with a line; nothing is sent but a C-ECHO."""
    config = configuration(tmp_path, port=peers.free_port(), pacs_port=orthanc.dicom_port)
    done = mome_node("check", config=config)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "ready"
    assert "demonstration weights" in done.stdout


def test_check_says_what_to_mend(tmp_path: Path) -> None:
    """A PACS that does not answer and a folder that others may read: each with its remedy, and exit code 1."""
    (tmp_path / "state").mkdir(mode=0o755)
    config = configuration(tmp_path, port=peers.free_port(), pacs_port=peers.free_port())
    done = mome_node("check", config=config)
    assert done.returncode == 1
    assert "Start the PACS" in done.stdout
    assert "chmod 700" in done.stdout


def test_check_knows_the_node_of_its_own_state_folder(tmp_path: Path) -> None:
    """A running node holds the port; that is no fault, whatever address check calls from."""
    (tmp_path / "state").mkdir(mode=0o700)
    with peers.storescp(tmp_path / "received") as port, (tmp_path / "state" / "lock").open("w") as lock:
        config = configuration(tmp_path, port=port, pacs_port=port)
        assert "another program has this port" in mome_node("check", config=config).stdout
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "the node of this state folder is up" in mome_node("check", config=config).stdout


def test_group_prints_the_contract_and_nothing_else(tmp_path: Path) -> None:
    """A rejected study is an answer: exit code 0, one JSON document on standard output."""
    spec = json.loads((DATA / "grouping_examples.json").read_text(encoding="utf-8"))["studies"]
    make_study.write_study(next(s for s in spec if s["id"] == "EX05"), tmp_path, 16, 16)
    done = mome_node("group", tmp_path, "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads((DATA / "grouping_report.schema.json").read_text(encoding="utf-8")))
    assert [study["decision"] for study in document["studies"]] == ["reject"]
    assert "NOT_BREAST" in mome_node("group", tmp_path).stdout


def test_an_unknown_study_is_said_in_words(tmp_path: Path) -> None:
    config = configuration(tmp_path, port=peers.free_port(), pacs_port=peers.free_port())
    done = mome_node("jobs", "complete", "1.2.3", config=config)
    assert done.returncode == 1
    assert "no study 1.2.3" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_cannot_be_used_is_said_in_words(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text("[reciever]\n")
    done = mome_node("config", "check", config=config)
    assert done.returncode == 1
    assert "reciever" in done.stderr


def test_analyze_does_not_replace_what_it_did_not_write(tmp_path: Path) -> None:
    """`--out` may name the folder that the images lie in: they must survive."""
    assert mome_node("phantom", "--out", tmp_path, "--seed", 51).returncode == 0
    before = sorted(tmp_path.rglob("*.dcm"))
    done = mome_node("analyze", tmp_path, "--out", tmp_path)
    assert "holds other files" in done.stdout + done.stderr
    assert sorted(tmp_path.rglob("*.dcm")) == before


def test_the_demo_empties_no_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = mome_node("demo", "--out", tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "thesis.txt").exists()
