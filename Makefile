# Everything happens in a virtual environment of its own; nothing else on the machine is touched.
PYTHON ?= python3
VENV ?= .venv
KERNELS ?= .venv-kernels
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
NATIVE := native/kernels.cc native/ffi.cc $(wildcard native/*.h)

LEARNING := adding_problem copy_memory pixel_digits

# Each is a script of examples/; the gallery, examples/README.md, says how long it takes.
APPLICATIONS := sentiment translation question_answering punctuation character_model word_model on_any_device forecasting captioning handwriting

.PHONY: demo learning applications pictures production test native lint parity tpu gpu sanitizers bench bench-smoke docs dev clean

demo: $(VENV)/.examples
	$(BIN)/python examples/speaker_identification.py $(DEMO_ARGS)

# About half an hour on two cores; `LEARNING_ARGS=--quick` is a smoke run.
learning: $(VENV)/.examples
	set -e; for name in $(LEARNING); do $(BIN)/python examples/$$name.py $(LEARNING_ARGS); done

# Hours, for three seeds each; `APPLICATIONS_ARGS=--quick` is a run of minutes. Two at a time.
applications: $(VENV)/.examples
	printf '%s\n' $(APPLICATIONS) | \
	  xargs -P 2 -I {} $(BIN)/python examples/{}.py $(APPLICATIONS_ARGS)

pictures: $(VENV)/.examples
	$(BIN)/python examples/pictures_of_a_network.py $(PICTURES_ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2

# In place and without an installation, for work on the kernels.
native: | $(VENV)/.created
	$(BIN)/python hatch_build.py

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

production: $(VENV)/.test
	$(BIN)/python examples/to_production.py $(PRODUCTION_ARGS)

parity: $(VENV)/.parity
	$(BIN)/python -m pytest -n 2 tests/parity

# In an environment of their own, since libtpu and CUDA's plugin are large; no device is looked for.
tpu:
	$(MAKE) VENV=$(KERNELS) $(KERNELS)/.test $(KERNELS)/.tpu
	TPU_SKIP_MDS_QUERY=1 ALLOW_MULTIPLE_LIBTPU_LOAD=1 JAX_PLATFORMS=cpu \
	  $(KERNELS)/bin/python -m pytest -n 2 tests/tpu

gpu:
	$(MAKE) VENV=$(KERNELS) $(KERNELS)/.test $(KERNELS)/.gpu
	JAX_PLATFORMS=cpu $(KERNELS)/bin/python -m pytest -n 2 tests/gpu

sanitizers: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 tests/sanitizers

# About two hours of timing on two cores; close other load first.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/side_by_side.py
	$(BIN)/python benchmarks/side_by_side.py --odd
	$(BIN)/python benchmarks/side_by_side.py --streaming
	$(BIN)/python benchmarks/streaming.py --rounds 31
	$(BIN)/python benchmarks/smaller.py
	$(BIN)/python benchmarks/linear.py
	$(BIN)/python benchmarks/chunkwise.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/fit_overhead.py

bench-smoke: $(VENV)/.bench
	$(BIN)/python benchmarks/side_by_side.py --quick --out benchmarks/output
	$(BIN)/python benchmarks/streaming.py --quick
	$(BIN)/python benchmarks/smaller.py --quick
	$(BIN)/python benchmarks/linear.py --quick
	$(BIN)/python benchmarks/chunkwise.py --quick
	$(BIN)/python benchmarks/memory.py --quick
	$(BIN)/python benchmarks/fit_overhead.py --quick
	$(BIN)/python benchmarks/accelerator.py --quick --anyway --rounds 1

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dev: $(VENV)/.dev $(VENV)/.test
	$(BIN)/pre-commit install

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rnnjax needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	touch $@

# One stamp for each extra: .venv/.test stands for `pip install -e .[test]`.
# RNNJAX_NATIVE=0 is for the run alone: all environments share the library in this tree.
$(VENV)/.%: pyproject.toml hatch_build.py $(NATIVE) | $(VENV)/.created
	RNNJAX_NATIVE=$(filter 1,$(RNNJAX_NATIVE)) $(PIP) install -e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .hypothesis
	rm -f rnnjax/methods/native/librnnjax.* rnnjax/methods/native/not_built.txt
