# One virtual environment, made on demand; every install is pinned by constraints.txt.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: help demo test fuzz fuzz-kernel lint conformance bench parity sanitize portable docs pages clean

help:
	@echo "make demo         port a trained speaker encoder to every framework and compare"
	@echo "make test         all tests"
	@echo "make fuzz         100,000 damaged checkpoint files over all readers (twenty minutes of processor time)"
	@echo "make fuzz-kernel  5,000 drawn specs, shapes, strides and lengths through the kernel (half an hour of processor time)"
	@echo "make lint         ruff and mypy"
	@echo "make conformance  the wide conformance matrix, with a report in reports/"
	@echo "make bench        the tables and plots of docs/benchmarks/ (half an hour to an hour)"
	@echo "make parity       the figures and the plot of docs/training.md"
	@echo "make sanitize     the kernel's own driver under the address, undefined and thread sanitizers (a quarter of an hour)"
	@echo "make portable     the same driver by g++, by clang++ and for aarch64 in an emulator, where they are: the same bits"
	@echo "make docs         the documentation site, in site/"
	@echo "make pages        the cells' pictures in docs/variants/, which layouts hold them, docs/layouts.md: after either changes"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unilstm needs Python 3.11 or later: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv

.venv/.all: pyproject.toml constraints.txt hatch_build.py $(wildcard backends/unilstm_kernels/source/*) | .venv/bin/python
	$(PIP) -e ".[all]"
	@touch $@

.venv/.test: .venv/.all
	$(PIP) -e ".[test]"
	@touch $@

.venv/.docs: .venv/.all
	$(PIP) -e ".[docs]"
	@touch $@

# The package holds the checkpoint (15 MB); its own dependencies are not needed to read it.
.venv/.resemblyzer: | .venv/.all
	$(PIP) --no-deps Resemblyzer==0.1.4
	@touch $@

demo: .venv/.all .venv/.resemblyzer
	$(BIN)/unilstm demo --out demo-output

test: .venv/.test .venv/.resemblyzer
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

fuzz: .venv/.test
	$(BIN)/python tests/fuzz.py --count 100000 --jobs $(WORKERS) $(ARGS)

fuzz-kernel: .venv/.test
	$(BIN)/python tests/fuzz_kernel.py --count 5000 --jobs $(WORKERS) $(ARGS)

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

conformance: .venv/.test
	@mkdir -p reports
	$(BIN)/unilstm conformance --all --strict --report reports/conformance.html --report reports/conformance.json --report reports/conformance.xml

# Flax is a peer here and nothing else.
.venv/.bench: .venv/.test
	$(PIP) -e ".[bench]"
	@touch $@

bench: .venv/.bench
	cd bench && ../$(BIN)/python -m speed $(ARGS)
	$(if $(ARGS),,$(BIN)/python bench/memory.py)

parity: .venv/.test
	$(BIN)/python bench/parity.py

sanitize: .venv/.test
	PYTHONPATH=backends $(BIN)/python tests/drive_kernel.py sanitize

portable: .venv/.test
	PYTHONPATH=backends $(BIN)/python tests/drive_kernel.py portable

docs: .venv/.docs
	$(BIN)/mkdocs build --strict

pages: .venv/.all
	$(BIN)/python docs/pictures/draw_cells.py
	$(BIN)/python docs/pictures/layout_lines.py
	$(BIN)/python docs/pictures/layout_page.py

clean:
	rm -rf .venv build dist site demo-output reports
