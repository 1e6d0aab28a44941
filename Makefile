# Every target sets up what it needs: a fresh machine with Python >= 3.11 and make is enough.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INTEROP := .venv-interop
RELEASE := .venv-release
NEWEST := .venv-newest
RELEASE_TOOLS := build==1.6.1 hatchling==1.27.0 twine==7.0.0 cyclonedx-bom==7.5.0 pip-audit==2.10.1 uv==0.13.9
# bnb is left out: no version of bitsandbytes was tested.
EXTRAS := gguf ray onnx serve otel search lancedb qdrant pgvector langchain llama-index
COMPILE = $(RELEASE)/bin/uv pip compile pyproject.toml $(EXTRAS:%=--extra %) --python-version 3.11 --quiet --no-header
RECIPE ?= recipes/quickstart.yaml
OUT ?= runs/quickstart

.PHONY: study faults load fuzz fuzz-coverage test test-newest interop dist lock lock-check audit site install lint types bench bench-large levels docs clean
study: $(STAMP)  ## the controlled study on the embedded base and tasks; ends with the path of a report
	$(BIN)/poolwise study $(RECIPE) --out $(OUT)

# Files in order of their names: the slowest, in e2e and parity, then come early and no core waits for them.
test: $(STAMP) lint types  ## what CI checks, but for slow tests (POOLWISE_SLOW=1 make test runs those too)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/interop tests

interop: $(INTEROP)/.installed  ## LangChain, LlamaIndex and Haystack load exports, in an environment of their own
	$(INTEROP)/bin/pytest tests/interop

# The pin of huggingface_hub is left out: langchain-huggingface needs an older one, which poolwise takes too.
$(INTEROP)/.installed: pyproject.toml constraints.txt
	test -x $(INTEROP)/bin/python || $(PYTHON) -m venv $(INTEROP)
	grep -v "^huggingface_hub=" constraints.txt > $(INTEROP)/constraints.txt
	$(INTEROP)/bin/python -m pip install -q -c $(INTEROP)/constraints.txt torch==2.13.0 pip==26.3
	$(INTEROP)/bin/python -m pip install -q -c $(INTEROP)/constraints.txt -e . --group interop
	touch $@

test-newest: $(NEWEST)/.installed  ## the tests with the newest dependencies that pyproject.toml allows (constraints-newest.txt)
	$(NEWEST)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/interop tests

$(NEWEST)/.installed: pyproject.toml constraints-newest.txt
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install -q -c constraints-newest.txt torch==2.13.0 pip==26.3
	$(NEWEST)/bin/python -m pip install -q -c constraints-newest.txt -e . --group dev
	touch $@

$(RELEASE)/.installed: Makefile
	test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install -q --disable-pip-version-check $(RELEASE_TOOLS)
	touch $@

dist: $(STAMP) $(RELEASE)/.installed  ## wheel, sdist and bill of materials in dist/; wheel and sdist are tried without the checkout
	rm -rf dist
	$(RELEASE)/bin/python -m build --no-isolation >/dev/null
	$(RELEASE)/bin/twine check --strict dist/*.whl dist/*.tar.gz
	$(RELEASE)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o dist/poolwise.cdx.json
	$(BIN)/python scripts/check_release.py

lock: $(RELEASE)/.installed  ## requirements.lock: versions of constraints.txt with hashes; constraints-newest.txt: the newest allowed
	$(COMPILE) -c constraints.txt --generate-hashes --output-file requirements.lock
	$(COMPILE) --group dev --no-annotate --upgrade --output-file constraints-newest.txt

lock-check: $(RELEASE)/.installed  ## whether the index has a file with a recorded hash for every line of requirements.lock; installs nothing
	$(RELEASE)/bin/python -m pip install --dry-run --quiet --ignore-installed --require-hashes --no-deps -r requirements.lock

audit: $(RELEASE)/.installed  ## known vulnerabilities of the locked dependencies, by pip-audit
	$(RELEASE)/bin/python scripts/audit.py

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "poolwise needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q --disable-pip-version-check pip==26.3
	$(BIN)/python -m pip install -q -c constraints.txt -e . --group dev
	touch $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks scripts examples
	$(BIN)/ruff format --check src tests benchmarks scripts examples

types: $(STAMP)
	$(BIN)/mypy

bench: BENCHES = startup.py "encoding.py nano" "encoding.py nano --latency" head.py training.py base_dtype.py busy.py "corpus.py --texts 20000 --sample 4096" "serving.py"
bench: $(STAMP)  ## the claims of speed and memory that a change can break: each a ratio measured in one run
	$(run_benches)

bench-large: BENCHES = corpus.py ray_corpus.py index.py "encoding.py 110M" exports.py study.py screening.py growth.py statistics_speed.py profiles.py
bench-large: $(STAMP)  ## the large shapes, whole studies in pairs, and how work grows: an hour, before a release
	$(run_benches)

define run_benches
@failed=; for f in $(BENCHES); do \
  start=$$(date +%s); echo "== $$f"; $(BIN)/python benchmarks/$$f || failed="$$failed $$f;"; \
  echo "$$f took $$(($$(date +%s) - start)) s"; \
done; $(BIN)/python scripts/record_performance.py; test -z "$$failed" || { echo "failed: $$failed"; exit 1; }
endef

site: $(STAMP)  ## the pages of docs/ as a site, in build/site
	$(BIN)/mkdocs build

levels: $(STAMP)  ## what the tests reject by chance and what intervals cover, simulated: half an hour
	$(BIN)/python benchmarks/seed_rules.py
	$(BIN)/python benchmarks/statistics_levels.py
	$(BIN)/python benchmarks/experiment_levels.py

load: $(STAMP)  ## the server at ten times its capacity and rude clients (a quarter of an hour), then a soak of two hours
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/soak.py

faults: $(STAMP)  ## every file of a study damaged in four ways: the same results, or one clear error
	$(BIN)/python benchmarks/faults.py

fuzz: $(STAMP)  ## more than 100,000 hostile files, values and requests: accepted, or refused in words; up to an hour
	$(BIN)/python benchmarks/fuzz.py

fuzz-coverage: $(STAMP)  ## the same targets, inputs kept where they reach new code (Linux, Python 3.11 to 3.13)
	$(BIN)/python benchmarks/fuzz_coverage.py

docs: $(STAMP)  ## regenerate the reference pages that are made from code
	$(BIN)/python scripts/make_reference.py

clean:
	rm -rf $(VENV) $(INTEROP) $(RELEASE) $(NEWEST) dist runs
