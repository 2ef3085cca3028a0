# Every target makes its own .venv when it is missing. Python 3.10 or newer is needed to begin with.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test check benchmark benchmark-speed study notebooks docs pretrain clean

# torch goes first and alone: so no other package's open range chooses a build of it.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23" -c constraints.txt
	$(BIN)/python -m pip install --quiet "torch" -c constraints.txt
	$(BIN)/python -m pip install --quiet -e ".[dev]" -c constraints.txt
	touch $@

demo: .venv/installed
	$(BIN)/ppl-scaling solve "$$($(BIN)/ppl-scaling problems --num-problems 1 --seed 7 --text)" --seed 1

test: .venv/installed
	$(BIN)/python -m pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf .typecheck build
	$(BIN)/python -m pip install --quiet --no-deps --target .typecheck .
	cd .typecheck && MYPYPATH=. ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p ppl_scaling

benchmark: .venv/installed
	$(BIN)/python tests/benchmarks/accuracy.py

# All sections on the embedded models; SPEED="--models embedded smollm2 --peers-python ..." adds what this machine has.
benchmark-speed: .venv/installed
	$(BIN)/python tests/benchmarks/speed.py --output build/speed.json $(SPEED)

# The scaling study that tutorial 8 reads; goes on where it was when it is interrupted.
study: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/scaling_study.py --folder build/study

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet -e ".[docs]" -c constraints.txt
	touch $@

# Runs the tutorials and writes them as notebooks; TUTORIALS="01 08" takes only those.
notebooks: .venv/installed-docs
	$(BIN)/python tutorials/site/render.py $(TUTORIALS)

# The documentation site, in build/docs. Pages are made in a copy, so that nothing is written beside their sources.
docs: .venv/installed-docs
	rm -rf build/site build/docs build/doctrees
	mkdir -p build
	cp -r tutorials/site build/site
	mkdir build/site/tutorials
	cp tutorials/*.ipynb build/site/tutorials
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees build/site build/docs
	$(BIN)/python tutorials/site/links.py build/docs
	@echo "see build/docs/index.html"

# Trains the embedded language model and reward model again (an hour on two cores; models this small are faster on one thread
# a process).
pretrain: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m ppl_scaling.models.pretrained.recipe

clean:
	rm -rf .venv .typecheck build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
