# `make demo` and `make test` make a virtual environment, install the package with its compiled kernels,
# and do their job. TORCH chooses the PyTorch to install, PYTHON the interpreter.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch
WHEEL_DIR ?= dist
BIN := $(VENV)/bin
CXX_FILES := $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu')
TEST_CXX_FILES := $(shell find tests -name '*.h' -o -name '*.cpp' -o -name '*.cu')

.PHONY: demo test lint format docs bench gpu-check wheel clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

# Without build isolation the extension is built against the PyTorch that it will run with.
$(VENV)/installed: $(BIN)/python setup.py pyproject.toml setup_cuda.py $(CXX_FILES)
	$(BIN)/pip install --quiet "$(TORCH)" numpy "setuptools>=77" wheel ninja
	VAE_FAST_CPU=1 $(BIN)/pip install --quiet --no-build-isolation --editable ".[dev]"
	touch $@

demo: $(VENV)/installed
	$(BIN)/vae-fast train --loss both --epochs 20 --batch-size 16 --lr 0.003 --out runs/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES) $(TEST_CXX_FILES)

format: $(VENV)/installed
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES) $(TEST_CXX_FILES)

docs: $(VENV)/installed
	$(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks

# With the PyTorch that PYTHON has, of whatever CUDA.
gpu-check:
	PYTHON=$(PYTHON) scripts/gpu_check.sh runs/gpu

wheel: $(VENV)/installed
	$(BIN)/python -m build --no-isolation --outdir $(WHEEL_DIR)

clean:
	rm -rf build dist runs site *.egg-info vae_fast/*.so $(VENV)
