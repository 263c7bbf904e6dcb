"""What is installed is what was tried: the wheel carries its templates, rules, schema and weights."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHOW = """
import json
from mome_node import settings, shipped
from mome_node.analysis import series_grouping
from mome_node.findings import PROBLEM_CODES
from mome_node.results import sr_template
from mome.weights import DEMONSTRATION_WEIGHTS, read_card
import mome_node
print(json.dumps({
    "package": mome_node.__file__,
    "templates": sr_template.load_vocabulary("en").sha256,
    "rules": str(settings.Settings().series_rules_file),
    "loaded": series_grouping.load_rules(settings.Settings().series_rules_file) is not None,
    "codes": len(PROBLEM_CODES),
    "weights": read_card(DEMONSTRATION_WEIGHTS)["weights_sha256"],
}))
"""


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    """In a fresh environment, away from the checkout; the libraries are borrowed from this one."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")

    venv.create(tmp_path / "fresh", with_pip=False)
    python = tmp_path / "fresh" / "bin" / "python"
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    shown = subprocess.run([python, "-c", SHOW], check=True, capture_output=True, text=True, cwd=tmp_path)
    answer = json.loads(shown.stdout)
    assert answer["package"].startswith(str(site))
    assert answer["rules"].startswith(str(site))
    assert answer["loaded"]
    assert answer["codes"] > 40
    assert len(answer["weights"]) == 64
