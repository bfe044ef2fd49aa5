# The whole road. `make` shows the targets; every product is a file under build/, made once and whole.
SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup weights demo m1-p m3-p test check bench bench-basescore docs data clean

PYTHON ?= python3
VENV ?= .venv
# peers to compare speeds with, in an environment of their own
PEERS ?= .venv-peers
# put before every heavy command: RUN="srun -c4 --mem=8G" runs the same road on a SLURM cluster
RUN ?=
# networks of the SpliceAI ensemble to use, 1 to 5
MODELS ?= 5
TORCH_CPU ?= torch==2.13.0+cpu

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIECE := tests/data
D := build/demo
CONFIG := --config $(PIECE)/ms.toml
# stretches of the piece, with gaps that no gene spans
TEST := chr15:48,000,001-48,690,000
TRAIN := chr15:48,700,001-50,140,000
VALID := chr15:50,150,001-50,500,000
SPLIT := --train $(TRAIN) --valid $(VALID) --test $(TEST)
LOCUS := chr15:48,480,000-48,500,000

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## install everything into .venv, once

# Without an NVIDIA GPU: the CPU builds of torch and xgboost, where pip can find them, instead of gigabytes of CUDA.
$(READY): pyproject.toml $(wildcard libmeta/engines/*.c)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: error: Python 3.11 or newer is needed, $$($(PYTHON) --version); give one with PYTHON=" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; o = p["optional-dependencies"]; \
	  print(*[d for d in p["dependencies"] if not d.startswith(("torch", "xgboost"))], *o["report"], *o["test"], sep="\n")' > $(VENV)/needs.txt
	if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then \
	  $(BIN)/pip install -q -r $(VENV)/needs.txt torch xgboost; \
	else \
	  $(BIN)/pip install -q -r $(VENV)/needs.txt '$(TORCH_CPU)' xgboost-cpu || \
	  $(BIN)/pip install -q -r $(VENV)/needs.txt torch xgboost; \
	fi
	$(BIN)/pip install -q --no-deps openspliceai==0.0.7 || echo "setup: the peer openspliceai is not to be had; its tests will be left out" >&2
	$(BIN)/pip install -q --no-deps -e .
	touch $@

weights: weights/spliceai/spliceai5.h5 ## SpliceAI's weights, from its Python package (17 MB; CC BY-NC 4.0, not for commercial use)

weights/spliceai/spliceai5.h5: | $(READY)
	mkdir -p weights
	$(BIN)/pip download -q --no-deps -d weights spliceai==1.3.1
	$(BIN)/python -m zipfile -e weights/spliceai-1.3.1-*.whl weights/wheel
	mkdir -p weights/spliceai && mv weights/wheel/spliceai/models/*.h5 weights/spliceai/
	rm -r weights/wheel weights/spliceai-1.3.1-*.whl
	touch $@

# ---- the road on the piece of chromosome 15 -------------------------------------------------------------------------

$(D)/.made: | $(READY)
	mkdir -p $(D)
	touch $@

$(D)/m1.sites.parquet: $(PIECE)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe m1 --genes-bed $(D)/genes.bed -o $@

$(D)/m3.sites.parquet: $(PIECE)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe m3 --reference MANE -o $@

# a change of MODELS makes the scores anew
$(D)/models-$(MODELS): | $(D)/.made
	rm -f $(D)/models-* && touch $@

$(D)/spliceai.json: $(D)/m1.sites.parquet $(D)/models-$(MODELS) weights/spliceai/spliceai5.h5
	$(RUN) $(BIN)/ms-basescore $(D)/genes.bed $(CONFIG) --weights weights/spliceai --models $(MODELS) -o $(D)/spliceai

$(D)/features.parquet: $(D)/spliceai.json
	$(RUN) $(BIN)/ms-features $(D)/genes.bed $(CONFIG) --modalities all-but-junction,sequence -o $@

$(D)/m1-p.ubj: $(D)/features.parquet
	$(RUN) $(BIN)/ms-train $< --recipe m1-p $(SPLIT) -o $@

$(D)/m3-p.ubj: $(D)/features.parquet
	$(RUN) $(BIN)/ms-train $< --recipe m3-p --reference 0 $(SPLIT) -o $@

$(D)/%.scores.parquet: $(D)/%.ubj $(D)/features.parquet
	$(RUN) $(BIN)/ms-predict -m $< $(D)/features.parquet -o $@ $(CONFIG) --tracks $(D)/$* --annotation $(PIECE)/gencode.v34.gtf.gz

$(D)/%-p.metrics.json: $(D)/%-p.scores.parquet $(D)/%.sites.parquet
	$(RUN) $(BIN)/ms-eval $< --labels $(D)/$*.sites.parquet --region $(TEST) -o $@ --html $(D)/$*-p.html --locus $(LOCUS)

.PRECIOUS: $(D)/%.scores.parquet $(D)/%-p.metrics.json

m1-p: $(D)/m1-p.metrics.json ## canonical sites on the piece: labels -> base scores -> features -> train -> predict -> eval
m3-p: $(D)/m3-p.metrics.json ## sites that the reference (MANE) does not have, supported by GTEx PSI

demo: m1-p m3-p ## the whole road on real DNA, with pictures and numbers
	@for m in m1 m3; do \
	  echo; echo "== $$m-p: base model and refined, held-out stretch $(TEST)"; \
	  $(BIN)/ms-eval --table -q $(D)/$$m-p.metrics.json; \
	  echo "page         $(D)/$$m-p.html"; \
	  echo "IGV session  $(D)/$$m-p.igv.xml"; \
	done
	@echo; echo "SpliceAI was trained on chromosome 15: these numbers show the road, not what it does on unseen genes."

# ---- tests and upkeep -----------------------------------------------------------------------------------------------

test: $(READY) weights ## all tests
	$(BIN)/pytest -n 2

check: $(READY) ## lint, formatting, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m libmeta.schema --readme | diff -u schemas/README.md -

docs: $(READY) ## write the generated documents
	mkdir -p build
	$(BIN)/python -m libmeta.schema --readme > build/schemas.md && mv build/schemas.md schemas/README.md

bench: bench-basescore ## speed of the parts beside their peers on this machine

bench-basescore: $(READY) weights $(PEERS)/.ready ## base scores beside openspliceai predict and SpliceAI under Keras
	$(BIN)/python tests/bench_basescore.py --peers $(PEERS)

$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install -q '$(TORCH_CPU)' || $(PEERS)/bin/pip install -q torch
	$(PEERS)/bin/pip install -q openspliceai==0.0.7 tensorflow-cpu tf_keras
	touch $@

data: build/data/chr15/.made ## chromosome 15 whole, GENCODE v34, GTEx PSI and an ms.toml into build/data/chr15 (downloads 155 MB)

build/data/chr15/.made: | $(READY)
	mkdir -p build/data/packages
	$(BIN)/python tests/data/make.py build/data/packages build/data/chr15
	touch $@

clean: ## remove build/
	rm -rf build
