"""What a web viewer gets from the archive: the results by DICOMweb, from Orthanc, as they were made.

`make viewer-proof` goes on from here: it opens the same objects in OHIF and looks at what is displayed.
"""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from mome_node.results import secondary_capture, structured_report
from mome_node.results.sr_template import load_vocabulary
from tests.node import peers
from tests.node import result_fixtures as fixtures
from tests.viewer import ohif

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Archive:
    """Orthanc with the report and the overlay of one synthetic study."""

    pacs: peers.Orthanc
    report: Dataset
    overlay: Dataset

    def get(self, path: str, accept: str = "application/dicom+json") -> bytes:
        """The answer of the DICOMweb service below the study."""
        address = f"http://127.0.0.1:{self.pacs.http_port}/dicom-web/studies/{fixtures.STUDY}{path}"
        request = urllib.request.Request(address, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("dicomweb")
    document, source, dce = fixtures.findings(), fixtures.source(), fixtures.volume()
    shared = (document, source, fixtures.evidence(source), fixtures.identity(document), load_vocabulary())
    report = structured_report.build(*shared)
    overlay = secondary_capture.build(*shared, dce, fixtures.saliency(dce), fixtures.mask(dce))
    with ohif.orthanc(folder / "orthanc") as pacs:
        for name, result in (("report", report), ("overlay", overlay)):
            pacs.post("/instances", fixtures.saved(result, folder / f"{name}.dcm"))
        yield Archive(pacs, report, overlay)


def test_the_list_of_series_tells_report_and_overlay_apart(archive: Archive) -> None:
    """QIDO-RS (PS3.18 10.6): viewers list series by description; narrow lists cut after 18 characters."""
    series = [Dataset.from_json(item) for item in json.loads(archive.get("/series?includefield=SeriesDescription"))]
    listed = {ds.Modality: ds.SeriesDescription for ds in series}
    assert listed == {"SR": archive.report.SeriesDescription, "OT": archive.overlay.SeriesDescription}
    assert len({description[:18] for description in listed.values()}) == 2


def test_the_report_comes_back_sentence_by_sentence(archive: Archive) -> None:
    """WADO-RS metadata (PS3.18 10.4): web viewers read a report from it, and never see the file."""
    (raw,) = json.loads(archive.get(f"/series/{archive.report.SeriesInstanceUID}/metadata"))
    assert texts(Dataset.from_json(raw)) == texts(archive.report)
    assert any("no support for downgrading" in text for text in texts(archive.report))


def texts(item: Dataset) -> list[str]:
    """Every text, code and number of a content tree, in order."""
    found = []
    for content in item.get("ContentSequence", []):
        value: Any = content.get("TextValue")
        if content.ValueType == "NUM":
            value = float(content.MeasuredValueSequence[0].NumericValue)
        if content.ValueType == "CODE":
            value = content.ConceptCodeSequence[0].CodeMeaning
        found += [f"{content.ValueType} {value}", *texts(content)]
    return found


def test_the_first_frame_is_rendered_as_it_was_drawn(archive: Archive) -> None:
    """WADO-RS rendered (PS3.18 10.4.1.1.3): colours and words reach viewers that let the archive draw."""
    sc = archive.overlay
    path = f"/series/{sc.SeriesInstanceUID}/instances/{sc.SOPInstanceUID}/frames/{{}}/rendered"
    drawn = np.frombuffer(sc.PixelData, np.uint8).reshape(-1, sc.Rows, sc.Columns, 3)
    for number in (1, int(sc.NumberOfFrames)):
        rendered = np.asarray(Image.open(io.BytesIO(archive.get(path.format(number), "image/png"))).convert("RGB"))
        assert rendered.shape == drawn[number - 1].shape
        assert np.abs(rendered.astype(int) - drawn[number - 1]).max() <= 1


def test_frames_come_in_their_own_colours(archive: Archive) -> None:
    """WADO-RS frames (PS3.18 10.4): web viewers decode the pixels themselves; red stays red."""
    sc = archive.overlay
    body = archive.get(
        f"/series/{sc.SeriesInstanceUID}/instances/{sc.SOPInstanceUID}/frames/1",
        'multipart/related; type="application/octet-stream"',
    )
    assert sc.PixelData[: sc.Rows * sc.Columns * 3] in body
