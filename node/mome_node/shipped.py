"""Where the data that ships with the software lies: in the wheel inside the package, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

from .errors import SettingsError

PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """Path of a shipped folder or file, e.g. "sr_templates" or "config/series_rules.toml".

    Raises SettingsError where neither the package nor the checkout has it: then the installation is incomplete.
    """
    for root in (PACKAGE / "data", PACKAGE.parents[1]):
        if (root / name).exists():
            return root / name
    raise SettingsError(f"The shipped data {name!r} is not there.", remedy="Install mome-node again.")
