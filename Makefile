PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SILICAST := $(BIN)/silicast

.PHONY: demo test bench validate gate calibrate left-out proof docs clean

# The main job: DeepSeek-R1 on one vendor's chip beside another's.
demo: $(VENV)/.demo
	$(SILICAST) compare deepseek-ai/DeepSeek-R1 ascend-910c h100-sxm --packages 32 --claim 0.6 --html demo/report.html

test: $(VENV)/.test
	$(BIN)/ruff check src tests benchmarks scripts docs
	$(BIN)/ruff format --check src tests benchmarks scripts docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --cov --cov-report=term:skip-covered

bench: $(VENV)/.demo
	$(BIN)/python benchmarks/run.py

# The scoreboard on the evidence that ships: docs/accuracy.md and a report with charts.
validate: $(VENV)/.demo
	$(BIN)/python docs/accuracy.py --html demo/validation.html

# The medians that a change may not worsen by more than a point: after a change that moves forecasts, on purpose.
gate: $(VENV)/.demo
	$(BIN)/python scripts/gate.py

# Refits without each source, chip and generation: what accuracy is judged by where nothing was measured.
left-out: $(VENV)/.calibrate
	$(SILICAST) calibrate --left-out $(if $(OPERATORS),--operators $(OPERATORS)) --output src/silicast/data/left_out

# The shipped coefficients. OPERATORS is a folder of operator measurements (CSV), for chips without public tables.
calibrate: $(VENV)/.calibrate
	$(SILICAST) calibrate $(if $(OPERATORS),--operators $(OPERATORS)) --output src/silicast/data/coefficients

proof: $(VENV)/.proof
	$(BIN)/python scripts/prove_models.py

docs: $(VENV)/.docs
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -q -W -b html docs docs/_build/html

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q -e .
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q -e '.[test]'
	touch $@ $(VENV)/.demo

$(VENV)/.calibrate: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q -e '.[calibrate]'
	touch $@

$(VENV)/.proof: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q -e '.[test,proof]'
	touch $@

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo docs/_build docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
