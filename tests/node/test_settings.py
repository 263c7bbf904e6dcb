"""One TOML file; what is wrong in it is said with its key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mome_node import settings
from mome_node.errors import SettingsError
from mome_node.shipped import shipped


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_unknown_key_is_an_error(tmp_path: Path) -> None:
    """A misspelt key that is ignored would leave a door open or a time-out unset."""
    with pytest.raises(SettingsError, match=r"receiver\.prot"):
        settings.load(written(tmp_path, "[receiver]\nprot = 104\n"))


def test_a_clinical_destination_must_say_when_it_shows_advice(tmp_path: Path) -> None:
    text = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs"\nport = 104\nkind = "clinical"\n'
    with pytest.raises(SettingsError, match="must state advice"):
        settings.load(written(tmp_path, text))


def test_in_clinical_mode_every_destination_says_when_it_shows_advice(tmp_path: Path) -> None:
    """Whatever kind it is: nobody shall see advice because nobody thought of it."""
    text = 'mode = "clinical"\n[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs"\nport = 104\n'
    with pytest.raises(SettingsError, match="must state advice"):
        settings.load(written(tmp_path, text))


def test_demonstration_advice_is_not_for_the_clinic(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="demonstrate_advice"):
        settings.load(written(tmp_path, 'mode = "clinical"\n[results]\ndemonstrate_advice = true\n'))


def test_the_doors_are_closed_by_default() -> None:
    """Nobody may call, nothing listens beyond this machine, every result is marked as research."""
    default = settings.Settings()
    assert default.peers == ()
    assert default.receiver.host == "127.0.0.1"
    assert default.mode == "research"


def test_titles_and_ports_do_not_change_a_result() -> None:
    """Result identity holds what shapes a result: moving the PACS to another port must not make new objects."""
    base = settings.Settings()
    moved = base.model_copy(update={"receiver": settings.Receiver(ae_title="OTHER", port=104)})
    worded = base.model_copy(update={"results": settings.Results(demonstrate_advice=True)})
    assert moved.result_shaping_hash() == base.result_shaping_hash()
    assert worded.result_shaping_hash() != base.result_shaping_hash()


def test_the_shipped_example_is_the_generated_one() -> None:
    """config/node.example.toml is made from the docstrings: `mome-node config example`."""
    assert shipped("config/node.example.toml").read_text(encoding="utf-8") == settings.example()


def test_the_example_can_be_used(tmp_path: Path) -> None:
    settings.load(written(tmp_path, settings.example()))


def test_every_key_of_the_example_is_a_key(tmp_path: Path) -> None:
    """Also those that are commented out: without the comment they must still be read."""
    lines = settings.example().splitlines()
    live = [line.removeprefix("# ") for line in lines if " = " in line and "not set" not in line]
    tables = [line for line in lines if line.startswith("[")]
    assert len(live) > 20
    for line in live:
        assert tomllib.loads(line)
    assert set(tables) >= {"[receiver]", "[assembly]", "[model]", "[results]"}


@pytest.mark.parametrize("change", [{"augmentation": "paper-6"}, {"numeric_type": "bfloat16"}, {"name": "another"}])
def test_how_the_score_is_made_is_part_of_a_result_s_identity(change: dict[str, str]) -> None:
    """Another score under the UID of the first would be dropped by an archive without a word."""
    plain = settings.Settings()
    changed = plain.model_copy(update={"model": plain.model.model_copy(update=change)})
    faster = plain.model_copy(update={"model": plain.model.model_copy(update={"threads": 7})})
    assert changed.result_shaping_hash() != plain.result_shaping_hash()
    assert faster.result_shaping_hash() == plain.result_shaping_hash()
