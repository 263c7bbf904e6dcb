# Everything runs from a fresh clone with Python 3.11+, git, make and a C compiler.
PYTHON ?= python3
BIN := .venv/bin
KEEP ?=
SYSTEM_PACKAGES := orthanc orthanc-dicomweb dcmtk dicom3tools
OHIF := build/ohif
OHIF_VERSION := 3.13.2
OHIF_SHA256 := b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1

.PHONY: demo test check format evaluate bench-mome bench-study bench-grouping train compare judges viewer-proof wheel clean

# The main job: a synthetic study goes modality -> PACS -> node -> PACS. KEEP=1 stays up for a look with a viewer.
demo: .venv/run
	$(BIN)/mome-node demo $(if $(KEEP),--keep)

# All checks and the default tests. Installs Orthanc with DICOMweb, DCMTK and dicom3tools where it may.
test: .venv/dev system-packages check
	$(BIN)/pytest

# Format, lint, types, import contracts.
check: .venv/dev
	$(BIN)/ruff format --check node models tests
	$(BIN)/ruff check node models tests
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff format node models tests
	$(BIN)/ruff check --fix node models tests

# The demonstration weights on synthetic phantoms that they have not seen.
evaluate: .venv/run
	$(BIN)/mome evaluate

# The network at the paper's size against its plain form: ratios of one run (long: 20 gradients and an augmentation).
bench-mome: .venv/run
	$(BIN)/mome bench --size paper

# One explained study at the paper's size: scores of all combinations, 20 gradients, peak memory (47 minutes on 2 busy cores).
bench-study: .venv/run
	$(BIN)/mome bench --size paper --study --steps 20

# Grouping of a study of 2,000 images from cold files against one plain read of the same headers.
bench-grouping: .venv/dev
	$(BIN)/python -m tests.bench_grouping

# Train the demonstration network again, as the shipped one was (about half an hour, and its synthetic exams before that);
# killed, it goes on.
train: .venv/run
	$(BIN)/mome train --config demonstration --out build/demonstration --threads 1

# The comparison with single-sequence networks, fusions and MOME with parts taken out (hours); killed, it goes on.
compare: .venv/run
	$(BIN)/mome compare --config synthetic --out build/compare --threads 1

# The slow judge: PixelMed's validator over one of every object that the node can write, and over the results of a
# synthetic study that went through the pipeline (Debian: libpixelmed-java and a Java runtime; about 20 minutes).
judges: .venv/dev system-packages
	@[ -e /usr/share/java/pixelmed.jar ] || { echo "PixelMed is missing (Debian: libpixelmed-java)." >&2; exit 1; }
	rm -rf build/judges
	mkdir -p build/judges/objects
	$(BIN)/python -m tests.node.result_objects build/judges/objects
	$(BIN)/mome-node phantom --out build/judges/studies --seed 3
	$(BIN)/mome-node analyze build/judges/studies --out build/judges/results --also segmentation --also located_region \
	  --also parametric_map --also key_objects > build/judges/report.txt
	ls build/judges/objects/*.dcm build/judges/results/*/*.dcm | xargs -P 2 -n 4 $(BIN)/python -m tests.judges --pixelmed

# What a radiologist sees: results of synthetic studies in OHIF on Orthanc, in headless Chromium (about two minutes).
# The screenshots in build/viewer-proof are for a person to look at.
viewer-proof: SYSTEM_PACKAGES += chromium npm
viewer-proof: .venv/dev system-packages $(OHIF)/package/dist/index.html
	$(BIN)/python -m tests.viewer.proof --ohif $(OHIF)/package/dist --out build/viewer-proof

# The viewer, built by its makers (MIT licence; 50 MB).
$(OHIF)/package/dist/index.html:
	mkdir -p $(OHIF)
	cd $(OHIF) && npm pack --silent @ohif/app@$(OHIF_VERSION)
	echo "$(OHIF_SHA256)  $(OHIF)/ohif-app-$(OHIF_VERSION).tgz" | sha256sum --check --quiet
	tar xzf $(OHIF)/ohif-app-$(OHIF_VERSION).tgz -C $(OHIF)

# ------------------------------------------------------------------ set-up
# torch first and alone: with the CPU build in place nothing asks for the CUDA one.
.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/dev: .venv/run
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The whole development environment.
.PHONY: .venv
.venv: .venv/dev

.PHONY: system-packages
system-packages:
	@missing=""; \
	for package in $(SYSTEM_PACKAGES); do \
	  case $$package in \
	    orthanc) command -v Orthanc || [ -x /usr/sbin/Orthanc ] ;; \
	    orthanc-dicomweb) ls /usr/share/orthanc/plugins/libOrthancDicomWeb.so* ;; \
	    dcmtk) command -v storescu ;; \
	    dicom3tools) command -v dciodvfy ;; \
	    *) command -v $$package ;; \
	  esac >/dev/null 2>&1 || missing="$$missing $$package"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else \
	  echo "These programs are needed (Debian packages):$$missing. Install them, then run make again." >&2; exit 1; \
	fi

wheel: .venv/dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv build dist demo-output
