# The two commands of the README. VENV may name another place for the virtual environment.
PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test lint

# Installed again only when the package's description changes.
$(VENV)/.installed-demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[demo]"
	touch $@

$(VENV)/.installed-test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

# Reconstructs the sample photo (an astronaut, public domain) into demo/.
demo: $(VENV)/.installed-demo
	$(VENV)/bin/python examples/01_reconstruct/01_sample_photo.py demo

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -n auto

lint: $(VENV)/.installed-dev
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m pyright --pythonpath $(VENV)/bin/python
