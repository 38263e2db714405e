# Every target works alone on a machine that has Python 3.11–3.13 with pip, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

# Kind of DVC's remote storage (s3, gs, azure, ssh), for whose extra packages `make setup` is to see.
DVC_EXTRA ?=

.PHONY: setup run test lint bench viz mlflow docs notebooks retrain changes comment

setup: .venv/installed

# One set-up a lock file: a changed lock or pyproject installs again.
.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	test -z "$(DVC_EXTRA)" || $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraints requirements.lock "dvc[$(DVC_EXTRA)]"
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
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}

docs: setup
	$(BIN)/python -m docsite --graph

notebooks: setup
	$(BIN)/python -m pytest tests/test_notebooks.py

# All steps but `announce`; what they cover: conf/base/retrain.yml. make itself ends with 2 whatever the command's status.
retrain: setup
	$(BIN)/kedro cv retrain

# One step: pull, data, train, promote, publish; announce tells people on GitHub.
retrain-%: setup
	$(BIN)/kedro cv retrain $*

# What the results of dvc.lock are against those of another commit; `comment` shows it at pull request PR.
BASE ?= origin/main
changes: setup
	$(BIN)/kedro cv changes --since $(BASE)

comment:
	gh pr comment $(PR) --body-file build/changes.md --edit-last --create-if-none
