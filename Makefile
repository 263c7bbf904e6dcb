# Everything runs from a fresh clone with Python 3.11+, git, make and a C compiler.
PYTHON ?= python3
BIN := .venv/bin
KEEP ?=

.PHONY: demo test check format evaluate bench-mome bench-study bench-grouping train judges wheel clean

# The main job: a synthetic study goes modality -> PACS -> node -> PACS. KEEP=1 stays up for a look with a viewer.
demo: .venv/run
	$(BIN)/mome-node demo $(if $(KEEP),--keep)

# All checks and the default tests. Installs Orthanc, DCMTK and dicom3tools where it may.
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

# Train the demonstration weights again (about 45 minutes on 2 cores).
train: .venv/run
	$(BIN)/mome train --out models/mome/weights/demonstration.safetensors

# The slow judge: PixelMed's validator over the results of a synthetic study (Debian: libpixelmed-java and a Java runtime).
judges: .venv/dev system-packages
	@[ -e /usr/share/java/pixelmed.jar ] || { echo "PixelMed is missing (Debian: libpixelmed-java)." >&2; exit 1; }
	rm -rf build/judges
	$(BIN)/mome-node phantom --out build/judges/studies --seed 3
	$(BIN)/mome-node analyze build/judges/studies --out build/judges/results > build/judges/report.txt
	$(BIN)/python -m tests.judges --pixelmed build/judges/results/*/*.dcm

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

SYSTEM_PACKAGES := orthanc dcmtk dicom3tools
.PHONY: system-packages
system-packages:
	@missing=""; \
	command -v Orthanc >/dev/null || [ -x /usr/sbin/Orthanc ] || missing="$$missing orthanc"; \
	command -v storescu >/dev/null || missing="$$missing dcmtk"; \
	command -v dciodvfy >/dev/null || missing="$$missing dicom3tools"; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else \
	  echo "The tests need these programs (Debian packages):$$missing. Install them, then run make test again." >&2; exit 1; \
	fi

wheel: .venv/dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv build dist demo-output
