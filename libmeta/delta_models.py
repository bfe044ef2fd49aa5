"""A sequence model made ready for variants: its base models with their weights, its channels, its network."""

import logging
from pathlib import Path

from libmeta import basemodels
from libmeta.config import Config
from libmeta.delta_meta import MetaScorer
from libmeta.delta_run import scorer_of, weights_of
from libmeta.dense_stream import NEEDS_GENES
from libmeta.errors import USAGE, MetaError
from libmeta.features import Sources
from libmeta.genome import Genome
from libmeta.inputs import scored_regions
from libmeta.models.file import SequenceModel
from libmeta.predict import about as described
from libmeta.predict import check_weights, is_sequence
from libmeta.predict_sequence import Refiner, open_channels, wanted_modalities

log = logging.getLogger("libmeta")


def read_model(path: str) -> SequenceModel:
    """The model of a file; MetaError for one that is not of a sequence model."""
    if not is_sequence(path):
        raise MetaError(f"a position model has no deltas, {path}; give a sequence model (.safetensors)", USAGE)
    return SequenceModel.from_file(path)


def open_labels(model: SequenceModel, without: tuple[str, ...], only: tuple[str, ...], config: Config, genome: Genome):
    """(SiteIndex or None, files read) for modalities that depend on genes. only: regions, which limit what is read."""
    if not set(wanted_modalities(model, without)) & set(NEEDS_GENES):
        return None, {}
    _, labels, read = scored_regions(None, only, config, genome, True)
    return labels, read.files


def open_meta(
    path: str,
    primary: str,
    config: Config,
    genome: Genome,
    *,
    without: tuple[str, ...],
    weights: tuple[str, ...],
    engine: str,
    threads: int | None,
    only: tuple[str, ...],
) -> tuple[MetaScorer, dict]:
    """(scorer, about): the model of a file ready to score variants; about["files"] is what was read, about["upstream"] the
    chain of the model.

    primary: base model that is shown beside a model that refines none. weights: of --weights, else of ms.toml, else the
    usual places. MetaError for a base model that cannot be run here or whose weights are others than those that the model
    was trained on.
    """  # fmt: skip
    model = read_model(path)
    labels, annotation = open_labels(model, without, only, config, genome)
    trained = {m["name"]: m for m in model.base_models}
    folders = weights_of(weights, [*trained] or [primary])
    scorers, abouts, files = {}, {}, {"meta": path}
    for name, known in (trained or {primary: {}}).items():
        entry = config.base_scores.get(name, {})
        adapter = _adapter(name, entry, config)
        folder = folders.get(name) or entry.get("weights")
        scorers[name], here = scorer_of(adapter, genome, folder, known.get("networks"), engine, threads)
        where = folder or "the weights found here"
        check_weights({**known, "name": name}, {**here["model"], "name": name}, str(where))
        files |= {f"{name}.{k}": p for k, p in here.pop("files").items()}
        abouts[name] = {**here["model"], "name": name}
    sources = Sources(Config({**config.values, "base_scores": {}}, config.path), genome, labels)
    readers = open_channels(model, sources, config.name, without)
    evidence = {f"{n}.{k}": p for n, r in readers.items() for k, p in r.inputs.items()}
    evidence |= annotation
    refiner = Refiner(model, threads=threads)
    shown = next(iter(scorers))
    scorer = MetaScorer(refiner, scorers[shown], [scorers[n] for n in trained], sources, readers)
    log.info(
        "%s refines %s%s", model.recipe, ", ".join(trained) or "nothing", "; it is its base" if model.is_base else ""
    )
    modalities = {"present": list(readers), "absent": list(without)}
    meta = described(model, Path(path).name, kind=model.kind, is_base=model.is_base, modalities=modalities)
    others = [abouts[n] for n in abouts if n != shown]
    meta |= {"base_models": others, "evidence": sorted(evidence)}
    return scorer, {"model": abouts[shown], "meta": meta, "files": files | evidence, "upstream": (model.provenance,)}


def _adapter(name: str, entry: dict, config: Config) -> str:
    """Which of libmeta.basemodels runs the base model that a model file calls `name`."""
    adapter = entry.get("model", name)
    if adapter not in basemodels.names():
        raise MetaError(
            f"no way to run base model {name}, whose scores of ALT the model needs, {config.name}; write "
            f'[base_scores.{name}] model = "..." there, one of {", ".join(basemodels.names())}'
        )
    return adapter
