# Development happens in .venv, which these targets make and keep up to date; nothing outside it is touched.
#   make demo        the wheel, a gateway on this machine, and what comes of streaming through it
#   make test        the Rust and the Python tests
#   make lint        formatting, clippy, ruff, mypy, and the stub against the extension
#   make coverage    each module of the faces by its own tests, all branches
#   make fuzz-smoke  every fuzz target for FUZZ_SECONDS (10)
#   make bench       what penstock costs beside its peers: a table, and a dated record in benches/record
#   make bench-gateway  what the gateway costs beside its peers; see benches/gateway
#   make bench-core  what the Rust core costs alone
#   make bench-test  every benchmark once, to see that it works
# Needs Python 3.11 or newer and cargo (https://rustup.rs).

PYTHON ?= python3
VENV ?= .venv

FUZZ_SECONDS ?= 10

BIN := $(VENV)/bin
CARGO_FUZZ := $(or $(shell command -v cargo-fuzz),target/tools/bin/cargo-fuzz)
WHEELS := target/wheels
# The releases that the tests and the benches are known to pass with; users are not held to them.
CONSTRAINTS := tests/constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
SOURCES := Cargo.toml Cargo.lock pyproject.toml \
	$(shell find rust -name fuzz -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print) \
	$(shell find python -name '*.py' -o -name '*.pyi' -o -name py.typed)

.DELETE_ON_ERROR:
.PHONY: help setup demo test bench bench-core bench-gateway bench-test lint coverage fuzz-smoke clean

help:
	@sed -n 's/^#   make/  make/p' $(MAKEFILE_LIST)

setup: $(VENV)/.dev

demo: $(VENV)/.demo
	@$(BIN)/penstock demo

test: $(VENV)/.dev $(VENV)/openai/2.54
	cargo test --workspace --quiet
	$(BIN)/python -m pytest

bench: $(VENV)/.bench
	$(BIN)/python -m benches.report --record benches/record

# Peers that cannot share an environment are named by PENSTOCK_BENCH_LITELLM and PENSTOCK_BENCH_SMG, a Python each.
bench-gateway: $(VENV)/.bench
	$(BIN)/python -m benches.gateway --record benches/record

bench-core:
	cargo bench -p penstock

bench-test: $(VENV)/.bench $(VENV)/litellm
	$(BIN)/python -m pytest benches --benchmark-disable
	cargo bench -p penstock --quiet -- --test

lint: $(VENV)/.dev
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	cargo clippy --manifest-path rust/fuzz/Cargo.toml --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/stubtest penstock._penstock

coverage: $(VENV)/.dev
	$(BIN)/python tests/module_coverage.py

# The sanitizer's flags are hidden on the stable toolchain; RUSTC_BOOTSTRAP shows them.
fuzz-smoke: $(CARGO_FUZZ)
	RUSTC_BOOTSTRAP=1 $(CARGO_FUZZ) build --fuzz-dir rust/fuzz
	$(PYTHON) rust/fuzz/smoke.py --seconds $(FUZZ_SECONDS) --cargo-fuzz $(CARGO_FUZZ)

clean:
	rm -rf $(VENV) target rust/fuzz/target rust/fuzz/corpus .pytest_cache .mypy_cache .ruff_cache

$(BIN)/maturin:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than Python 3.11; try make PYTHON=python3.13" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "make: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) maturin

$(CARGO_FUZZ):
	cargo install --quiet --locked --root target/tools cargo-fuzz

# The wheel is built and installed as users get it. Reinstalling only it leaves what it needs alone.
$(VENV)/.wheel: $(SOURCES) $(BIN)/maturin
	@echo "Building the wheel; the first time takes a minute or two."
	@rm -rf $(WHEELS)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin build --release --quiet --out $(WHEELS) --interpreter $(BIN)/python
	$(PIP_INSTALL) --force-reinstall --no-deps $(WHEELS)/*.whl
	@touch $@

# What an extra needs is looked up when pyproject.toml changes, not at each build.
$(VENV)/.demo: EXTRA = cli,gateway,openai
$(VENV)/.dev: EXTRA = cli,dev
$(VENV)/.bench: EXTRA = cli,dev,bench
$(VENV)/.demo $(VENV)/.dev $(VENV)/.bench: pyproject.toml $(CONSTRAINTS) | $(VENV)/.wheel
	$(PIP_INSTALL) "$$(ls $(WHEELS)/*.whl)[$(EXTRA)]"
	@touch $@

# Releases that cannot stand beside the others: what needs them runs in a second process, which finds their folder
# first. Each is made whole or not at all, and under the constraints that it can keep.
APART = grep -vE '^($(1))==' $(CONSTRAINTS) > $(VENV)/$(@F).constraints && rm -rf $(VENV)/$(@F).part && mkdir -p $(@D) \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(VENV)/$(@F).constraints \
		--target $(VENV)/$(@F).part $(2) && mv $(VENV)/$(@F).part $@

# The openai SDK's other major version.
$(VENV)/openai/%: | $(VENV)/.dev
	$(call APART,openai,'openai==$*.*')

# LiteLLM needs openai before 3 and boto3, which needs python-dateutil before 3.
$(VENV)/litellm: | $(VENV)/.bench
	$(call APART,openai|python-dateutil,litellm==1.106.2 mcp)
