# The whole road. `make` shows the targets; every product is a file under build/, made once and whole.
SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup weights demo m1-p m3-p m1-s m2e-s m3-s m1-window m1-seq2seq m4 test check bench bench-basescore bench-meta bench-delta-engine bench-delta bench-features bench-capacity docs data data-hg38 data-hg38-sizes clean

PYTHON ?= python3
VENV ?= .venv
# peers to compare speeds with, in an environment of their own
PEERS ?= .venv-peers
# put before every heavy command: RUN="srun -c4 --mem=8G" runs the same road on a SLURM cluster
RUN ?=
# networks of the SpliceAI ensemble to use, 1 to 5
MODELS ?= 5
TORCH_CPU ?= torch==2.13.0+cpu

# what the road runs on: piece (of chromosome 15, in the repository), chr15 or chr19 (whole, see "data")
DATA ?= piece

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIECE := tests/data
ifeq ($(DATA),piece)
D := build/demo
SOURCES := $(PIECE)
SCORES := $(D)/spliceai
# stretches of the piece, with gaps that no gene spans
TEST := chr15:48,000,001-48,690,000
TRAIN := chr15:48,700,001-50,140,000
VALID := chr15:50,150,001-50,500,000
LOCUS := --locus chr15:48,480,000-48,500,000
# a few minutes of training show the road; a whole chromosome gets what the recipe says
QUICK := --epochs 3 --windows 160
TISSUES ?= all
else
# columns and bigWigs for every base: all 53 would be many gigabytes
TISSUES ?= brain_cortex,brain_cerebellum,heart_left_ventricle,liver,lung,muscle_skeletal,skin_sun_exposed_lower_leg,spleen,testis,whole_blood
D := build/$(DATA)
SOURCES := build/data/$(DATA)
SCORES := $(SOURCES)/spliceai
endif
# stretches of the whole chromosomes, more than 1 Mb apart
ifeq ($(DATA),chr15)
TRAIN := chr15:20,000,001-70,000,000
VALID := chr15:71,500,001-80,500,000
TEST := chr15:82,000,001-101,991,189
endif
ifeq ($(DATA),chr19)
TRAIN := chr19:1-35,000,000
VALID := chr19:36,500,001-44,500,000
TEST := chr19:46,000,001-58,617,616
endif
ifeq ($(TEST),)
$(error DATA=$(DATA) is not known: piece, chr15 or chr19)
endif
CONFIG := --config $(SOURCES)/ms.toml
SPLIT := --train $(TRAIN) --valid $(VALID) --test $(TEST)

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

$(SOURCES)/ms.toml: | $(if $(filter piece,$(DATA)),,$(SOURCES)/.made)

$(D)/m1.sites.parquet: $(SOURCES)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe m1 --genes-bed $(D)/genes.bed -o $@

# every annotated site; weighed by tier (TIER_WEIGHTS=1,0.85,0.65) and by evidence; alternative sites to evaluate on;
# half of the annotation hidden, and the hidden half to evaluate on
TIER_WEIGHTS ?=
$(D)/m2.sites.parquet $(D)/m2a.sites.parquet $(D)/m2b.sites.parquet $(D)/m2d.sites.parquet: $(D)/%.sites.parquet: $(SOURCES)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe $* -o $@

$(D)/m2c.sites.parquet: $(SOURCES)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe m2c $(if $(TIER_WEIGHTS),--tier-weights $(TIER_WEIGHTS)) -o $@

$(D)/half.sites.parquet: $(SOURCES)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe m2 --hide 0.5 --hidden $(D)/hidden.sites.parquet -o $@

$(D)/m3.sites.parquet: $(SOURCES)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe m3 --reference MANE -o $@

# the same sites in every tissue of the PSI table
$(D)/m2e.sites.parquet: $(SOURCES)/ms.toml | $(D)/.made
	$(RUN) $(BIN)/ms-labels $(CONFIG) --recipe m2e -o $@

# a change of MODELS makes the scores anew
$(D)/models-$(MODELS): | $(D)/.made
	rm -f $(D)/models-* && touch $@

# the flanks are what sequence models see around a gene
$(SCORES).json: $(D)/m1.sites.parquet $(D)/models-$(MODELS) weights/spliceai/spliceai5.h5
	$(RUN) $(BIN)/ms-basescore $(D)/genes.bed $(CONFIG) --flank 1000 --weights weights/spliceai --models $(MODELS) -o $(SCORES)

$(D)/features.parquet: $(SCORES).json
	$(RUN) $(BIN)/ms-features $(D)/genes.bed $(CONFIG) --modalities all-but-junction,sequence -o $@

# junctions are a feature of m2 alone: where they are the target, ms-train refuses them
$(D)/m2.features.parquet: $(SCORES).json
	$(RUN) $(BIN)/ms-features $(D)/genes.bed $(CONFIG) --modalities all -o $@

$(D)/m2-p.ubj: $(D)/m2.features.parquet
	$(RUN) $(BIN)/ms-train $< --recipe m2-p $(SPLIT) -o $@

$(D)/m2-p.scores.parquet: $(D)/m2-p.ubj $(D)/m2.features.parquet
	$(RUN) $(BIN)/ms-predict -m $< $(word 2,$^) -o $@ $(CONFIG) --tracks $(D)/m2-p --annotation $(SOURCES)/gencode.v34.gtf.gz

$(D)/m1-p.ubj: $(D)/features.parquet
	$(RUN) $(BIN)/ms-train $< --recipe m1-p $(SPLIT) -o $@

$(D)/m3-p.ubj: $(D)/features.parquet
	$(RUN) $(BIN)/ms-train $< --recipe m3-p --reference 0 $(SPLIT) -o $@

$(D)/%.scores.parquet: $(D)/%.ubj $(D)/features.parquet
	$(RUN) $(BIN)/ms-predict -m $< $(D)/features.parquet -o $@ $(CONFIG) --tracks $(D)/$* --annotation $(SOURCES)/gencode.v34.gtf.gz

$(D)/%-p.metrics.json: $(D)/%-p.scores.parquet $(D)/%.sites.parquet
	$(RUN) $(BIN)/ms-eval $< --labels $(D)/$*.sites.parquet --region $(TEST) -o $@ --html $(D)/$*-p.html $(LOCUS)

# sequence models: every base packed into shards, a network, every base of the test stretch refined
$(D)/%.shards/manifest.json: $(D)/%.sites.parquet $(SCORES).json
	$(RUN) $(BIN)/ms-features $(D)/genes.bed $(CONFIG) --dense --modalities all-but-junction | \
	  $(BIN)/ms-shard - --labels $< $(SPLIT) -o $(@D)
	touch $@

# with junctions; the other labels of the family are given to the same bases
$(D)/m2.shards/manifest.json: $(D)/m2.sites.parquet $(SCORES).json
	$(RUN) $(BIN)/ms-features $(D)/genes.bed $(CONFIG) --dense --modalities all | $(BIN)/ms-shard - --labels $< $(SPLIT) -o $(@D)
	touch $@

$(D)/m2c.shards/manifest.json $(D)/m2d.shards/manifest.json $(D)/half.shards/manifest.json: $(D)/%.shards/manifest.json: $(D)/%.sites.parquet $(D)/m2.shards/manifest.json
	$(RUN) $(BIN)/ms-shard $(D)/m2.shards --labels $< -o $(@D)
	touch $@

$(D)/m2-s.safetensors $(D)/m2f-s.safetensors: $(D)/m2.shards/manifest.json
$(D)/m2c-s.safetensors: $(D)/m2c.shards/manifest.json
$(D)/m2d-s.safetensors $(D)/m2d-soft-s.safetensors: $(D)/m2d.shards/manifest.json
$(foreach m,m2-s m2c-s m2d-s m2d-soft-s m2f-s,$(D)/$(m).safetensors): $(D)/%.safetensors:
	$(RUN) $(BIN)/ms-train $(<D) --recipe $* $(QUICK) -o $@

# plain cross-entropy and positive-unlabelled risk where half of the sites are hidden
$(D)/half-ce.safetensors $(D)/half-pu.safetensors: $(D)/half-%.safetensors: $(D)/half.shards/manifest.json
	$(RUN) $(BIN)/ms-train $(<D) --recipe $(if $(filter ce,$*),m2-s,m2f-s) $(QUICK) -o $@

$(D)/m3-s.safetensors: $(D)/m3.shards/manifest.json
	$(RUN) $(BIN)/ms-train $(<D) --recipe m3-s $(QUICK) -o $@

# a window of the window classifier is one position
$(D)/m1-window.safetensors: QUICK := $(if $(QUICK),--epochs 3 --windows 8192)

$(D)/m1-s.safetensors $(D)/m1-window.safetensors $(D)/m1-seq2seq.safetensors: $(D)/m1-%.safetensors: $(D)/m1.shards/manifest.json
	$(RUN) $(BIN)/ms-train $(<D) --recipe m1-$* $(QUICK) -o $@

$(D)/m2e-s.safetensors: $(D)/m2e.shards/manifest.json
	$(RUN) $(BIN)/ms-train $(<D) --recipe m2e-s $(QUICK) -o $@

$(D)/m2e-s.refined.parquet: TISSUE := --tissue $(TISSUES)

# UNCOVERED=uniform: where the base model was not run, from 1/3 for each class
UNCOVERED ?=
$(D)/%.refined.parquet: $(D)/%.safetensors
	$(RUN) $(BIN)/ms-predict -m $< $(D)/genes.bed --region $(TEST) -o $@ $(CONFIG) --tracks $(D)/$* $(TISSUE) \
	  --annotation $(SOURCES)/gencode.v34.gtf.gz $(if $(UNCOVERED),--uncovered $(UNCOVERED))

# the m2 family is judged on every annotated site, whatever a site counted for in training
define judge_sequence
$(D)/$(1).metrics.json: $(D)/$(1).refined.parquet $(D)/$(2).sites.parquet
	$$(RUN) $$(BIN)/ms-eval $$< --labels $$(word 2,$$^) --region $$(TEST) -o $$@ --html $(D)/$(1).html $$(LOCUS)
endef
$(foreach m,m1-s m1-window m1-seq2seq,$(eval $(call judge_sequence,$(m),m1)))
$(foreach m,m2-s m2c-s m2d-s m2d-soft-s m2f-s,$(eval $(call judge_sequence,$(m),m2)))
$(eval $(call judge_sequence,m2e-s,m2e))
$(eval $(call judge_sequence,m3-s,m3))

# alternative sites, $(1) m2a or m2b, of a model $(2)
define judge_alternative
$(D)/$(1).$(2).metrics.json: $(D)/$(2).refined.parquet $(D)/$(1).sites.parquet
	$$(RUN) $$(BIN)/ms-eval $$< --labels $$(word 2,$$^) --region $$(TEST) -o $$@
endef
$(foreach p,m2a m2b,$(foreach m,m1-s m2-s,$(eval $(call judge_alternative,$(p),$(m)))))
$(foreach m,half-ce half-pu,$(eval $(call judge_alternative,hidden,$(m))))
$(D)/hidden.sites.parquet: $(D)/half.sites.parquet

# variants: VCF and page, table, and every SNV of one exon. made, not observed; VARIANTS=FILE takes your own
VARIANTS ?= $(PIECE)/fbn1.made.vcf
EXON := chr15:48,487,055-48,487,220
DELTA := $(CONFIG) --weights weights/spliceai --models $(MODELS)

$(D)/m4.vcf.gz: $(VARIANTS) $(SOURCES)/ms.toml $(D)/models-$(MODELS) weights/spliceai/spliceai5.h5
	$(RUN) $(BIN)/ms-delta $< $(DELTA) -o $@ --write-index --html $(D)/m4.html

$(D)/m4.parquet: $(VARIANTS) $(SOURCES)/ms.toml $(D)/models-$(MODELS) weights/spliceai/spliceai5.h5
	$(RUN) $(BIN)/ms-delta $< $(DELTA) -o $@

$(D)/m4.exon.parquet: $(SOURCES)/ms.toml $(D)/models-$(MODELS) weights/spliceai/spliceai5.h5
	$(RUN) $(BIN)/ms-delta --saturate $(EXON) $(DELTA) -o $@ --picture $(D)/m4.exon.png

.SECONDARY: # what lies between stays: a second make goes on from it

m1-p: $(D)/m1-p.metrics.json ## canonical sites: labels -> base scores -> features -> train -> predict -> eval (DATA=chr15: whole)
m3-p: $(D)/m3-p.metrics.json ## sites that the reference (MANE) does not have, supported by GTEx PSI
.PHONY: m2-p m2-s m2c-s m2d-s m2f-s m2a m2b m2f-hidden
m2-p: $(D)/m2-p.metrics.json ## every annotated site, junctions as a feature, position model
m2-s: $(D)/m2-s.metrics.json ## every annotated site, junctions as a feature, sequence model
m2c-s: $(D)/m2c-s.metrics.json ## the same, weighed by tier (TIER_WEIGHTS=1,0.85,0.65)
m2d-s: $(D)/m2d-s.metrics.json $(D)/m2d-soft-s.metrics.json ## the same, by evidence: as weight and as soft target
m2f-s: $(D)/m2f-s.metrics.json ## the same, what is not annotated being unlabelled
m2a: $(D)/m2a.m1-s.metrics.json $(D)/m2a.m2-s.metrics.json ## alternative sites of tier 1: base model, m1-s, m2-s (UNCOVERED=uniform)
m2b: $(D)/m2b.m1-s.metrics.json $(D)/m2b.m2-s.metrics.json ## alternative sites of tiers 1 and 2, told apart
m2f-hidden: $(D)/hidden.half-ce.metrics.json $(D)/hidden.half-pu.metrics.json ## half of the sites hidden: who finds them? (DATA=chr15: the piece has too few sites)
m2a m2b m2f-hidden:
	@for f in $^; do echo; echo "== $$f"; $(BIN)/ms-eval --table -q $$f; done

m1-s: $(D)/m1-s.metrics.json ## canonical sites at every base, sequence model: labels -> base scores -> shards -> train -> predict -> eval
m3-s: $(D)/m3-s.metrics.json ## the same for sites that the reference does not have
m2e-s: $(D)/m2e-s.metrics.json ## sites tissue by tissue: bigWigs and AP of each, and whether a site's tissues are ranked right
m1-window: $(D)/m1-window.metrics.json ## the window classifier, one position at a time
m1-seq2seq: $(D)/m1-seq2seq.metrics.json ## its form for whole windows

m4: $(D)/m4.vcf.gz $(D)/m4.parquet $(D)/m4.exon.parquet ## variants of FBN1 (made ones; VARIANTS=FILE): VCF, table, page, heat map of an exon
	@echo "page      $(D)/m4.html"; echo "heat map  $(D)/m4.exon.png"

demo: m1-p m3-p m1-s ## the whole road on real DNA, with pictures and numbers
	@for m in m1-p m3-p m1-s; do \
	  echo; echo "== $$m: base model and refined, held-out stretch $(TEST)"; \
	  $(BIN)/ms-eval --table -q $(D)/$$m.metrics.json; \
	  echo "page         $(D)/$$m.html"; \
	  echo "IGV session  $(D)/$$m.igv.xml"; \
	done
	@echo; echo "SpliceAI was trained on this chromosome: these numbers show the road, not what it does on unseen genes."

# ---- tests and upkeep -----------------------------------------------------------------------------------------------

test: $(READY) weights ## all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

check: $(READY) ## lint, formatting, generated documents
	mkdir -p build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m libmeta.schema --readme | diff -u schemas/README.md -
	cp README.md build/README.md && $(BIN)/python -m libmeta.recipes build/README.md && diff -u README.md build/README.md

docs: $(READY) ## write the generated documents
	mkdir -p build
	$(BIN)/python -m libmeta.schema --readme > build/schemas.md && mv build/schemas.md schemas/README.md
	$(BIN)/python -m libmeta.recipes README.md

bench: bench-basescore bench-meta bench-delta-engine bench-delta bench-features ## speed of the parts beside their peers on this machine

bench-meta: $(READY) weights ## sequence model beside a plain PyTorch loop of the same network, and beside the base scores
	$(BIN)/python tests/bench_meta.py

bench-delta-engine: $(READY) weights ## variant effects by the cone beside full windows, by the same kernel
	$(BIN)/python tests/bench_delta_engine.py

bench-delta: $(READY) weights $(PEERS)/.ready ## variant effects beside openspliceai variant and SpliceAI's command
	$(BIN)/python tests/bench_delta.py --peers $(PEERS)

bench-features: $(READY) ## features of a million positions from genome-sized tracks (2.2 GB, made first) beside pyBigWig per position
	$(BIN)/python tests/bench_features.py

bench-capacity: $(D)/m2.shards/manifest.json ## larger sequence networks on the same shards: AP, parameters, time (DATA=chr15: about an hour)
	$(BIN)/python tests/bench_capacity.py $(D)/m2.shards $(if $(QUICK),--epochs 2 --windows 80)

bench-basescore: $(READY) weights $(PEERS)/.ready ## base scores beside openspliceai predict and SpliceAI under Keras
	$(BIN)/python tests/bench_basescore.py --peers $(PEERS)

$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install -q '$(TORCH_CPU)' || $(PEERS)/bin/pip install -q torch
	$(PEERS)/bin/pip install -q openspliceai==0.0.7 tensorflow-cpu tf_keras
	$(PEERS)/bin/pip install -q --no-deps spliceai==1.3.1 'setuptools<81'
	touch $@

data: build/data/chr15/.made build/data/chr19/.made ## chromosomes 15 and 19 whole, GENCODE v34, GTEx PSI and an ms.toml each into build/data (downloads 211 MB)

build/data/%/.made: | $(READY)
	mkdir -p build/data/packages
	$(BIN)/python tests/data/make.py build/data/packages build/data/$* $*
	touch $@

# public data of the whole genome, by group: sizes are shown first, what was stopped goes on, what is there stays
HG38 := build/data/hg38
PUBLIC := genome annotation conservation epigenetic chrom_access rbp_eclip junction
FETCH := $(BIN)/python -m libmeta.fetch --folder $(HG38)

data-hg38: $(addprefix data-hg38-,$(PUBLIC)) ## whole genome from UCSC, GENCODE, ENCODE and GTEx into build/data/hg38, with an ms.toml; data-hg38-genome, ... a group alone

data-hg38-sizes: | $(READY) ## what data-hg38 would fetch: files, sizes, sources, and the total
	@$(FETCH) --dry-run

.PHONY: $(addprefix data-hg38-,$(PUBLIC))
$(addprefix data-hg38-,$(PUBLIC)): data-hg38-%: $(HG38)/%.ready
	$(FETCH) --config

$(HG38)/%.ready: libmeta/public_data.toml | $(READY)
	mkdir -p $(@D)
	$(FETCH) $*
	$(UNPACK)
	touch $@

$(HG38)/genome.ready: UNPACK = gzip -dc $(@D)/hg38.fa.gz > $(@D)/hg38.fa.part && mv $(@D)/hg38.fa.part $(@D)/hg38.fa
# 17,382 samples become some fifty tissues
$(HG38)/junction.ready: UNPACK = $(RUN) $(BIN)/python -m libmeta.gct_tissues $(@D)/GTEx_Analysis_2017-06-05_v8_STARv2.5.3a_junctions.gct.gz \
	  $(@D)/GTEx_Analysis_v8_Annotations_SampleAttributesDS.txt $(@D)/gtex

clean: ## remove build/
	rm -rf build
