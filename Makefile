# Every target works alone on a machine that has Python 3.11–3.13 with pip, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup run test lint bench viz mlflow docs notebooks

setup: .venv/installed

# One set-up a lock file: a changed lock or pyproject installs again.
.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

run: setup
	$(BIN)/kedro run

test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not gpu and not network"

lint: setup
	$(BIN)/ruff check src tests benchmarks docsite
	$(BIN)/ruff format --check src tests benchmarks docsite
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	for script in benchmarks/[!_]*.py; do $(BIN)/python $$script || exit 1; done

viz: setup
	$(BIN)/kedro viz run

mlflow: setup
	$(BIN)/mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}

docs: setup
	$(BIN)/python -m docsite --graph

notebooks: setup
	$(BIN)/python -m pytest tests/test_notebooks.py
