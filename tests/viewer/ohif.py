"""OHIF as a site would run it before its PACS: the prebuilt viewer and DICOMweb from one loopback address.

The npm package @ohif/app holds a finished build (`dist`); Orthanc's DICOMweb is passed on under /dicom-web, so that
the viewer's requests have one origin.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import mimetypes
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.node import peers

DICOMWEB = "/dicom-web"
PLUGIN_PLACES = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins", "/usr/lib/orthanc")

mimetypes.add_type("application/wasm", ".wasm")
for _ending in (".js", ".mjs"):
    mimetypes.add_type("text/javascript", _ending)


def configuration() -> str:
    """OHIF's app-config.js: one data source, no dialogs, no network but this address."""
    source = {
        "friendlyName": "Orthanc",
        "name": "orthanc",
        "wadoUriRoot": "/wado",
        "qidoRoot": DICOMWEB,
        "wadoRoot": DICOMWEB,
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "dicomUploadEnabled": False,
        "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True},
    }
    config = {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "customizationService": {},
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "investigationalUseDialog": {"option": "never"},
        "maxNumberOfWebWorkers": 2,
        "defaultDataSourceName": "orthanc",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "orthanc",
                "configuration": source,
            }
        ],
    }
    return f"window.config = {json.dumps(config)};\n"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, dist: Path, pacs: str) -> None:
        self.dist, self.pacs = dist, pacs
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent: what matters is what the page shows."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith((DICOMWEB, "/wado")):
            self._from_pacs()
        elif path == "/app-config.js":
            self._answer(200, configuration().encode(), "text/javascript")
        else:
            self._file(path)

    do_HEAD = do_POST = do_GET

    def _from_pacs(self) -> None:
        headers = {name: value for name in ("Accept", "Content-Type") if (value := self.headers.get(name))}
        headers["Forwarded"] = f"host={self.headers['Host']};proto=http"  # Orthanc builds its BulkDataURIs from it
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else None
        request = urllib.request.Request(self.pacs + self.path, data=body, headers=headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                kind = answer.headers.get("Content-Type", "application/octet-stream")
                self._answer(answer.status, answer.read(), kind)
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read(), error.headers.get("Content-Type", "text/plain"))

    def _file(self, path: str) -> None:
        """A file of the build; every other address is the application itself."""
        file = (self.dist / path.lstrip("/")).resolve()
        if not file.is_relative_to(self.dist) or not file.is_file():
            file = self.dist / "index.html"
        self._answer(200, file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the viewer no longer wants it
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")  # both: OHIF shares memory with its workers
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)


@contextlib.contextmanager
def serving(dist: Path, pacs: peers.Orthanc) -> Iterator[str]:
    """OHIF's build `dist` before `pacs` on a free loopback port; yields the address."""
    assert (dist / "index.html").is_file(), f"{dist} holds no build of OHIF: `make viewer-proof` fetches it"
    handler = partial(_Handler, dist=dist.resolve(), pacs=f"http://127.0.0.1:{pacs.http_port}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[peers.Orthanc]:
    """Orthanc with its DICOMweb plugin on free loopback ports; fails in words where the plugin is missing."""
    found = [file for place in PLUGIN_PLACES for file in sorted(Path(place).glob("libOrthancDicomWeb.so*"))]
    assert found, "Orthanc's DICOMweb plugin is missing on this machine: install the Debian package orthanc-dicomweb"
    web = {"Enable": True, "Root": f"{DICOMWEB}/", "EnableWado": True, "WadoRoot": "/wado"}
    with peers.orthanc(folder, Plugins=[str(found[0])], DicomWeb=web) as pacs:
        peers.wait_until("the DICOMweb plugin", lambda: "dicom-web" in pacs.get("/plugins"))
        yield pacs
