# Development happens in .venv, which these targets make and keep up to date; nothing outside it is touched.
#   make test   the Rust and the Python tests
# Needs Python 3.11 or newer and cargo (https://rustup.rs).

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
WHEELS := target/wheels
SOURCES := Cargo.toml Cargo.lock pyproject.toml \
	$(shell find rust -name fuzz -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print) \
	$(shell find python -name '*.py' -o -name '*.pyi' -o -name py.typed)

.DELETE_ON_ERROR:
.PHONY: help setup test bench lint clean

help:
	@sed -n 's/^#   make/  make/p' $(MAKEFILE_LIST)

setup: $(VENV)/.dev

test: $(VENV)/.dev
	cargo test --workspace --quiet
	$(BIN)/python -m pytest

bench: $(VENV)/.bench
	$(BIN)/python -m pytest benches

lint: $(VENV)/.dev
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) target .pytest_cache .mypy_cache .ruff_cache

$(BIN)/maturin:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than Python 3.11; try make PYTHON=python3.13" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "make: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.14,<2'

# The wheel is built and installed as users get it. Reinstalling only it leaves what it needs alone.
$(VENV)/.wheel: $(SOURCES) $(BIN)/maturin
	@echo "Building the wheel; the first time takes a minute or two."
	@rm -rf $(WHEELS)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin build --release --quiet --out $(WHEELS) --interpreter $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps $(WHEELS)/*.whl
	@touch $@

# What an extra needs is looked up when pyproject.toml changes, not at each build.
$(VENV)/.dev: EXTRA = cli,dev
$(VENV)/.bench: EXTRA = cli,dev,bench
$(VENV)/.dev $(VENV)/.bench: pyproject.toml | $(VENV)/.wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(ls $(WHEELS)/*.whl)[$(EXTRA)]"
	@touch $@
