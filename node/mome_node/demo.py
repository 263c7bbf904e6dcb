"""The main job on one machine: a synthetic study goes modality -> PACS -> node -> PACS; what a radiologist sees."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pydicom

from . import loopback_pacs
from .delivery import storage_scu
from .errors import DeliveryError, NodeError
from .ledger import Ledger
from .phantom import Written, write_study
from .results import pages, text_report
from .settings import Destination, load

Say = Callable[[str], None]

NODE_TITLE, MODALITY_TITLE = "MOME", "MODALITY"
SEED = 20250401  # a malignant lesion: the overlay has something to show
QUIET_S = 3
MARK = ".mome-node-demo"  # in a folder that the demo made and may empty
START_TIMEOUT_S = 60.0
RESULT_TIMEOUT_S = 420.0
RESULTS = frozenset({"SR", "OT"})  # modalities of the report and the overlay


def run(out: Path, *, seed: int | None, keep: bool, pacs: str, say: Say) -> None:
    """Everything of the demo goes below `out`, which is emptied first. Raises NodeError when a part fails or no result
    arrives in time.
    """
    started = time.monotonic()

    def tell(words: str) -> None:
        say(f"{time.monotonic() - started:6.1f} s  {words}")

    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise NodeError(f"{out} is not empty, and no earlier demo.", remedy="Name another folder with --out.")
    out = out.resolve()  # the PACS and the node read their paths from files of their own
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARK).touch()
    study = write_study(out / "synthetic-study", SEED if seed is None else seed)
    tell(f"a synthetic patient is made: {len(study.files)} MR images in the folder {out / 'synthetic-study'}")
    node = Destination(name="node", ae_title=NODE_TITLE, host="127.0.0.1", port=loopback_pacs.free_port())
    with loopback_pacs.running(pacs, out / "pacs", node) as archive, _node(out, node, archive.port):
        tell(f"a PACS is up ({archive.name}, DICOM port {archive.port}) and the node ({NODE_TITLE}, port {node.port})")
        target = Destination(name="pacs", ae_title=loopback_pacs.AE_TITLE, host="127.0.0.1", port=archive.port)
        storage_scu.send(target, study.files, MODALITY_TITLE)
        tell("the modality has sent the study to the PACS; the PACS routes it to the node")
        results = _wait_for_results(archive, study)
        tell("the results are in the PACS")
        _show(out, study, results, say)
        if keep:
            say(f"\nPACS: {archive.look(study.study_instance_uid)}   (Ctrl-C ends the demo)")
            _until_interrupted()


# ------------------------------------------------------------------ the parts
@contextmanager
def _node(out: Path, node: Destination, pacs_port: int) -> Iterator[None]:
    """`mome-node serve` with a configuration file, as a site would run it."""
    config = out / "node.toml"
    config.write_text(
        f"""# The node of the demo. Start it again with: mome-node --config {config} serve
state_folder = {json.dumps(str(out / "state"))}

[receiver]
ae_title = "{NODE_TITLE}"
port = {node.port}

[[peers]]
ae_title = "{loopback_pacs.AE_TITLE}"
addresses = ["127.0.0.1"]

[[destinations]]
name = "pacs"
ae_title = "{loopback_pacs.AE_TITLE}"
host = "127.0.0.1"
port = {pacs_port}
retry_first_s = 2

[assembly]
quiet_s = {QUIET_S}

[results]
demonstrate_advice = true  # for the synthetic patients of this node's generator only, and marked
""",
        encoding="utf-8",
    )
    with (out / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mome_node.cli", "--verbose", "--config", str(config), "serve"],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(node):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NodeError("The node did not start.", remedy=f"See {out / 'node.log'}.")
            time.sleep(0.3)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(node: Destination) -> bool:
    try:
        storage_scu.echo(node, loopback_pacs.AE_TITLE)
    except DeliveryError:
        return False
    return True


def _wait_for_results(archive: loopback_pacs.Pacs, study: Written) -> list[bytes]:
    """Report and overlay, as they lie in the PACS."""
    deadline = time.monotonic() + RESULT_TIMEOUT_S
    while time.monotonic() < deadline:
        results = archive.objects(study.study_instance_uid, RESULTS)
        if len(results) >= len(RESULTS):
            return results
        time.sleep(0.5)
    raise NodeError(
        f"No result arrived in the PACS within {RESULT_TIMEOUT_S:g} s.",
        remedy="See node.log beside the results; `mome-node jobs list` says how far the study came.",
    )


def _show(out: Path, study: Written, results: list[bytes], say: Say) -> None:
    """Timeline, the report's words, the truth that was planted, and where to look."""
    folder = out / "results"
    folder.mkdir()
    for raw in results:
        name = "report" if pydicom.dcmread(BytesIO(raw)).Modality == "SR" else "overlay"
        (folder / f"{name}.dcm").write_bytes(raw)
    pages.summary_png(pydicom.dcmread(folder / "overlay.dcm"), folder / "summary.png")
    (folder / "report.txt").write_text(text_report.text(pydicom.dcmread(folder / "report.dcm")), encoding="utf-8")
    say("\nTimeline of the node's stages")
    ledger = Ledger(load(out / "node.toml").state_folder / "ledger.sqlite")
    (analysis,) = ledger.analyses(study.study_instance_uid)
    for stage in ledger.stages(analysis.id):
        say(f"  {stage.seconds or 0:6.1f} s  {stage.stage.replace('_', ' ')}")
    say("\nWhat the radiologist sees")
    say((folder / "report.txt").read_text(encoding="utf-8"))
    kind = "malignant" if study.malignant else "benign"
    say(f"The truth planted in this synthetic patient: a {kind} lesion.")
    say("\nWhere to look")
    for name, what in (
        ("report.dcm", "the Structured Report, as it lies in the PACS"),
        ("report.txt", "the same as text"),
        ("summary.png", "the summary page: frame 1 of the overlay"),
        ("overlay.dcm", "the saliency overlay, a multi-frame secondary capture"),
    ):
        say(f"  {folder / name}   {what}")


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
