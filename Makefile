# make demo and make test are the two commands; make help lists the rest.
# METHODS="CoOp MaPLe" (or all) are those of make demo-full; default: what scripts/demo_full.yaml has.
PYTHON ?= python3
DATA ?= data/
OUTPUT ?= output
VENV := .venv
RUN := $(VENV)/bin/python
DEMO := PYTHON="$(RUN)" DATA="$(DATA)" OUTPUT="$(OUTPUT)" bash

.PHONY: help demo demo-full test lint clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/ready ## train and test MMRL and zero-shot CLIP on Digits, print Base / New / HM and what to try next (3 minutes on 2 cores)
	@mkdir -p "$(DATA)"
	$(DEMO) scripts/b2n/base2new_train.sh digits 1
	$(DEMO) scripts/b2n/base2new_test.sh digits 1
	$(DEMO) scripts/b2n/base2new_train.sh digits 1 ZeroshotCLIP
	$(DEMO) scripts/b2n/base2new_test.sh digits 1 ZeroshotCLIP
	@echo
	@$(RUN) mmrl.py table digits ZeroshotCLIP MMRL --output "$(OUTPUT)"
	@echo
	@$(RUN) mmrl.py report "$(OUTPUT)/base2new" --datasets digits --methods ZeroshotCLIP MMRL --seeds 1 --out "$(OUTPUT)/report"
	@echo 'A plot: $(OUTPUT)/report/plots/training_base2new_embedded_digits.png'
	@printf '%s\n' '' 'Next (after source $(VENV)/bin/activate):' \
		'  python mmrl.py fit "$(DATA:%/=%)/digits/images" --backbone embedded    # a classifier from a folder of images' \
		'  python mmrl.py grid base2new --datasets digits --methods MMRL CoOp MaPLe --seeds 1 2 3 --root "$(DATA:%/=%)" --output "$(OUTPUT)"' \
		'  python mmrl.py report "$(OUTPUT)"                                  # the tables and plots of all runs'

# A failed run (status 1) is named, and the report is of the others; anything above is a stop or bad input.
demo-full: $(VENV)/ready ## all protocols on the embedded suite, 5 methods, 3 seeds, and the report; METHODS="..."
	@mkdir -p "$(DATA)"
	@$(RUN) mmrl.py grid --suite scripts/demo_full.yaml --jobs 2 --root "$(DATA)" --output "$(OUTPUT)/demo_full" \
		$(if $(METHODS),--methods $(METHODS)); status=$$?; [ $$status -le 1 ] || exit $$status; \
	$(RUN) mmrl.py report "$(OUTPUT)/demo_full" --out "$(OUTPUT)/demo_full_report" --title "The embedded suite" || exit $$?; \
	exit $$status

# Compiled modules are kept, whatever the environment says: every worker and every program that a test starts reads them.
test: $(VENV)/ready ## run the default test suite
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -n auto --dist worksteal

lint: $(VENV)/ready-dev ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

clean: ## remove the virtual environment and caches; data and runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: Python 3.10 or newer is needed, $(PYTHON) is not: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "error: $(PYTHON) cannot make virtual environments: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }
	$(RUN) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/ready-dev: requirements-dev.txt $(VENV)/ready
	$(RUN) -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@
