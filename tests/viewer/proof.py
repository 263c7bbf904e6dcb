"""What a radiologist sees: the node's results in OHIF before Orthanc, looked at in a browser.

    make viewer-proof        (python -m tests.viewer.proof --ohif DIST --out FOLDER)

A synthetic study is analysed, stored with its results, and opened as a reader would open it. The page must display
every sentence and number of the report, the first frame of the overlay as it was drawn, and the selected region at its
millimetre; and of a synthetic study without a phase before contrast, that it was not analysed, and why. Screenshots
stay in FOLDER, for a person. The last line says how it went; exit code 1 where something is not displayed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import displayed, ohif, studies
from .browser import WINDOW, BrowserError, chromium
from .displayed import Viewer
from .studies import Study

SMALL_WINDOW = (900, 620)  # the overlay is then some 560 pixels high, as in one viewport of several
Check = Callable[[Viewer, Study], str]


def main() -> int:
    parser = argparse.ArgumentParser(description="Show the node's results in OHIF and check what is displayed.")
    parser.add_argument("--ohif", type=Path, required=True, help="prebuilt OHIF: package/dist of @ohif/app")
    parser.add_argument("--out", type=Path, required=True, help="folder for the screenshots")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="viewer-proof-") as scratch:
        how = proof(given.ohif, given.out, Path(scratch))
    print("viewer-proof " + " ".join(f"{name}={'ok' if ok else 'FAILED'}" for name, ok in how.items()))
    return 0 if all(how.values()) else 1


def proof(dist: Path, out: Path, scratch: Path) -> dict[str, bool]:
    """What was checked, and whether it is displayed."""
    whole, without_pre = studies.analysed(scratch), studies.refused(scratch)
    with (
        ohif.orthanc(scratch / "orthanc") as pacs,
        ohif.serving(dist, pacs) as address,
        chromium(scratch / "chromium") as page,
    ):
        for file in [*whole.files, *without_pre.files]:
            pacs.post("/instances", file.read_bytes())
        viewer = Viewer(page, address, out)
        viewer.open(whole)
        viewer.keep("study")
        how = {"sr": _tried("report", displayed.report, viewer, whole)}
        how["overlay"] = _tried("overlay", displayed.overlay, viewer, whole)
        _keep_small(viewer)
        how["seg"] = _tried("region", displayed.region, viewer, whole)
        for name in ("located_region", "parametric_map"):
            _keep_look(viewer, whole, name)
        viewer.open(without_pre)
        how["refusal"] = _tried("refusal-report", displayed.report, viewer, without_pre)
        how["refusal"] &= _tried("refusal-overlay", displayed.overlay, viewer, without_pre)
        for fault in page.faults:
            print(f"the page's scripts threw: {fault}")
    return how


def _tried(name: str, check: Check, viewer: Viewer, study: Study) -> bool:
    """The check's words on the output, and a screenshot in any case."""
    try:
        print(f"{name}: {check(viewer, study)}", flush=True)
    except (AssertionError, BrowserError) as error:
        print(f"{name}: NOT DISPLAYED: {error}", flush=True)
        return False
    finally:
        viewer.keep(name)
    return True


def _keep_look(viewer: Viewer, study: Study, name: str) -> None:
    """A screenshot without a verdict: objects that few viewers display."""
    viewer.open(study)
    viewer.show(study.results[name])
    time.sleep(3)
    viewer.settle()
    viewer.keep(name)


def _keep_small(viewer: Viewer) -> None:
    """The overlay as in a small viewport: is its smallest text still read?"""
    viewer.page.resize(*SMALL_WINDOW)
    time.sleep(3)
    viewer.keep("overlay-small")
    viewer.page.resize(*WINDOW)
    time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())
