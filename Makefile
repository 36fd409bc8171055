# make figures                          every notebook at smoke scale, embedded data
# make figures SCALE=laptop             real data, about two hours a notebook on two quiet cores (sparsification three); finished searches are kept in figures/laptop/runs
# make figures NOTEBOOK=sparsification  one notebook
PYTHON   ?= python3
SCALE    ?= smoke
NOTEBOOK ?= $(notdir $(basename $(wildcard notebooks/*.ipynb)))

$(if $(filter smoke laptop paper,$(SCALE)),,$(error SCALE must be smoke, laptop or paper, not '$(SCALE)'))

INSTALLED := .venv/installed
FOLDERS   := $(NOTEBOOK:%=figures/$(SCALE)/%)

# At smoke scale two notebooks at a time; at the others a notebook's searches fill the machine.
ifeq ($(SCALE),smoke)
MAKEFLAGS += --jobs=2
endif

# make confirmation                     computes what params/confirmation.yaml names and is not there; STATUS=1 only says what is left
# make confirmation PART=lhd            the same of another part of the plan; OWN=file.npz: own images that it names by their content
EVIDENCE := $(if $(filter paper,$(SCALE)),paper,laptop)
RUNS     ?= figures/$(EVIDENCE)/runs
WORKERS  ?= 2
PART     ?= searches

KATEX := build/katex/static/katex.min.css

.PHONY: setup constraints figures $(FOLDERS) confirmation rivals unreleased results test lint lab site bench clean

# make setup                            the versions that the tests last passed with (constraints.txt); LATEST=1: the newest ones
setup: $(INSTALLED)
	$(if $(LATEST),.venv/bin/pip install --upgrade --upgrade-strategy eager -e '.[dev]')

$(INSTALLED): pyproject.toml constraints.txt
	test -x .venv/bin/pip || $(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("needs Python 3.11 to 3.13, try: make setup PYTHON=python3.12")'
	test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	.venv/bin/pip install $(if $(LATEST),,-c constraints.txt) -e '.[dev]'
	touch $@

figures: $(FOLDERS)

# The executed notebook lies beside its figures; one that fails has its traceback in it.
$(FOLDERS): figures/$(SCALE)/%: notebooks/%.ipynb params/$(SCALE)/%.yaml $(INSTALLED)
	mkdir -p $@
	.venv/bin/papermill -k python3 -f params/$(SCALE)/$*.yaml $< $@/$*.ipynb

# Runs are named by what they are, so another folder (RUNS=...) can be copied into figures/laptop/runs at any time.
confirmation: $(INSTALLED)
	.venv/bin/python -m nasutils.studies.confirmation $(if $(STATUS),status,run) --part $(PART) $(if $(OWN),--own '$(OWN)') --scale $(EVIDENCE) --runs '$(RUNS)' --workers $(WORKERS)

# make rivals                           computes what "Beyond the paper" compares in three notebooks; STATUS=1 only says what is left
rivals: $(INSTALLED)
	.venv/bin/python -m nasutils.studies.rivals $(if $(STATUS),status,run) --scale $(EVIDENCE) --runs '$(RUNS)' --workers $(WORKERS)

# make unreleased                       searches LHD's three methods of which nothing was released, at the rung that a ladder chooses (43 core-hours)
unreleased: $(INSTALLED)
	.venv/bin/python -m nasutils.studies.lhd_benchmark.unreleased $(if $(STATUS),status,run) --scale $(EVIDENCE) --runs '$(RUNS)' --workers $(WORKERS)

results: $(INSTALLED)
	.venv/bin/python -m nasutils.studies.confirmation results

# After a `make test` that passed with the newest versions (make setup LATEST=1).
constraints: $(INSTALLED)
	.venv/bin/pip freeze --exclude-editable > .venv/frozen
	sed 's/+.*//' .venv/frozen > constraints.txt

test: lint
	.venv/bin/pytest -n 2 --dist loadfile
	.venv/bin/pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg --nbval-cell-timeout=300 notebooks
	$(MAKE) figures SCALE=smoke

lint: $(INSTALLED)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

lab: $(INSTALLED)
	.venv/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

# build/site: the notebooks as committed, guides, results and API. Nothing is executed.
site: $(INSTALLED) $(KATEX)
	rm -rf docs/reference/api
	.venv/bin/sphinx-build --fail-on-warning --keep-going -c docs -d build/doctrees . build/site
	cp build/site/README.html build/site/index.html

$(KATEX):
	command -v npm > /dev/null || { echo "make site needs npm (Node.js), to fetch KaTeX, which renders the formulas"; exit 1; }
	npm install --prefix build/katex --no-audit --no-fund katex@0.16
	mkdir -p $(@D)/fonts
	cp build/katex/node_modules/katex/dist/fonts/*.woff2 $(@D)/fonts
	cp build/katex/node_modules/katex/dist/katex.min.css $@

bench: $(INSTALLED)
	.venv/bin/python tests/benchmarks/bench.py --out figures/bench

# Removes caches and the smoke scale; keeps .venv and what took long: figures and runs of the other scales.
clean:
	rm -rf figures/smoke build .pytest_cache .mypy_cache .ruff_cache docs/reference/api
	find nasutils tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
