"""ms-train: features or shards -> a model."""

import logging
import sys

from libmeta.cli import (
    Choice,
    FloatRange,
    IntRange,
    argument,
    arguments,
    device,
    option,
    progress,
    refuse_terminal,
    seed,
    threads,
    tool,
)  # fmt: skip

log = logging.getLogger("libmeta")


@tool(
    "Train a position model on FEATURES (an Arrow stream or Parquet of ms-features; - is standard input), or a sequence "
    "model on SHARDS (a folder of ms-shard).\n\n"
    "Both start from the base model and refine it. Rounds or epochs are chosen by average precision on validation regions "
    "at true prevalence; test regions are never read; where nothing is gained the model saved is the base model, and says "
    "so. Without -o a position model goes to standard output or, where that is a terminal, to RECIPE.ubj; a sequence model "
    "to RECIPE.safetensors, with a log (.log.jsonl) and a picture (.png) beside it. A training on shards that was stopped "
    "goes on when the command is given again; under torchrun it uses several processes or GPUs."
)
@argument("features", metavar="FEATURES|SHARDS", default="-")
@option(
    "--recipe", metavar="NAME", help="m1-p, m3-p, m3-p-psi; for shards m1-s, m2-s, m2e-s, m3-s, m1-window, m1-seq2seq."
)
@option(
    "--target",
    metavar="NAME",
    help="Instead of --recipe: annotation (m1-p), junction (m3-p) or psi (m3-p-psi).",
)
@option("--split", metavar="NAME", help="By chromosome: spliceai or held-out.")
@option(
    "--train",
    multiple=True,
    metavar="REGION",
    help="chr1 or chr1:100-200 (1-based) [default: all that is left].",
)
@option("--valid", multiple=True, metavar="REGION", help="Validation [default: one 100 kb block in five].")
@option("--test", multiple=True, metavar="REGION", help="Kept out of training altogether; part of the model.")
@option("--reference", metavar="TIERS", help="m3: tiers that count as annotated, by name or number [default: all].")
@option("--min-support", type=IntRange(1), help="m3: reads that support a site [default: 3].")
@option("--min-psi", type=FloatRange(0, 1), help="m3: PSI that supports a site [default: 0.05].")
@option("--from-prior", is_flag=True, help="Start from the class frequencies instead of the base model.")
@option("--rounds", type=IntRange(1), help="At most so many trees per class [default: the recipe's].")
@option("--profile", metavar="NAME", help="Shards: lightweight (a laptop) or full [default: lightweight].")
@option("--epochs", type=IntRange(1), help="Shards: at most so many epochs [default: the profile's].")
@option("--windows", type=IntRange(1), help="Shards: windows in one epoch [default: the profile's].")
@option("--base", metavar="A,B", help="Shards: base models to start from, the primary first [default: all there].")
@option("--without", multiple=True, metavar="NAME", help="Shards: leave out a modality; repeatable.")
@option("--dtype", default="float32", show_default=True, type=Choice(["float32", "bfloat16"]),
        help="Shards: of the products in training.")  # fmt: skip
@option("--fresh", is_flag=True, help="Shards: start anew although a stopped training could go on.")
@option(
    "--tissue-form", type=Choice(["embedding", "one-hot"]), help="m2e-s: what stands for a tissue [default: embedding]."
)
@option(
    "--tissue-profile", metavar="TSV", help="m2e-s: expression of splicing factors, tissue x gene, instead of that."
)
@option("-o", "--output", default=None, metavar="FILE", help="Model file; - is stdout (position models).")
@threads
@device
@seed
def main(features, recipe, **options):
    from pathlib import Path

    if Path(features).is_dir():
        return _sequence(features, recipe, **options)
    return _position(features, recipe, **options)


_OF_FEATURES = (
    "target",
    "split",
    "train",
    "valid",
    "test",
    "reference",
    "min_support",
    "min_psi",
    "from_prior",
    "rounds",
)
_OF_SHARDS = ("profile", "epochs", "windows", "base", "without", "fresh", "tissue_form", "tissue_profile")


def _refuse(options: dict, names: tuple[str, ...], where: str) -> None:
    from libmeta.errors import USAGE, MetaError

    if given := [n for n in names if options[n] not in (None, (), False)]:
        raise MetaError(f"--{given[0].replace('_', '-')} does not go with {where}; see ms-train --help", USAGE)


def _position(features, recipe, target, split, train, valid, test, output, from_prior, rounds, threads, seed, **others):
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    from libmeta import checkpoint, disguise, label_sources, recipes, streams
    from libmeta import split as splits
    from libmeta import train as training
    from libmeta.device import thread_count
    from libmeta.errors import USAGE, MetaError

    _refuse(others, _OF_SHARDS, "features, only with shards")
    rule = {k: others[k] for k in ("reference", "min_support", "min_psi")}
    if bool(recipe) == bool(target):
        raise MetaError("name a recipe or a target; give --recipe NAME or --target NAME, one of them", USAGE)
    chosen = recipes.get(recipe or recipes.for_target(target))
    if not isinstance(chosen, recipes.PositionRecipe):
        raise MetaError(f"{chosen.name} is trained on shards, {features}; make them with ms-shard", USAGE)
    chosen = replace(chosen, rounds=rounds or chosen.rounds)
    parts = splits.parse(split, train, valid, test)
    stream = streams.open_table(features).expect("features")
    names = training.choose_columns(stream.schema, chosen)
    told = stream.metadata
    options = label_sources.rule(rule, chosen, told.get("recipe"), told.get("tiers", []), told.get("rule", {}))
    if output == "-":
        refuse_terminal(output)
    start = "prior" if from_prior or any(c not in stream.schema.names for c in training.BASE_COLUMNS) else "base"
    with tempfile.TemporaryDirectory(prefix="ms-train-") as folder:
        with progress(None, "rows", "reading") as bar:
            spools = training.fill(stream, chosen, parts, names, options, start, Path(folder), bar)
        training.check_parts(spools, chosen)
        suspicious = disguise.warn_of_features(spools[splits.VALID], names)
        with progress(chosen.rounds, "trees", "boosting") as bar:
            model = training.fit(spools, chosen, names, start, seed, thread_count(threads), lambda: bar.update(1))
    model.base_models, model.split = stream.metadata.get("base_models", []), parts.describe()
    model.split["seen"] = spools["seen"]
    model.training |= {"rows": spools["counts"], "suspicious_features": suspicious, "labels": options}
    files = {} if features == "-" else {"features": features}
    model.provenance = streams.step("ms-train", arguments(), files, (stream.provenance,))
    _save(checkpoint.to_bytes(model), output, chosen.name)
    gain = model.training["valid_macro_ap"]
    log.info("%d rounds; validation macro AP %.4f, start %.4f", model.trees, gain["model"], gain["start"])


def _save(raw: bytes, output: str | None, recipe: str) -> None:
    from libmeta.streams import atomic

    if output is None:
        output = f"{recipe}.ubj" if sys.stdout.isatty() else "-"
    if output == "-":
        sys.stdout.buffer.write(raw)
        return
    with atomic(output) as path:
        path.write_bytes(raw)
    log.info("wrote %s", output)


def _sequence(
    folder,
    recipe,
    output,
    profile,
    epochs,
    windows,
    base,
    without,
    dtype,
    fresh,
    threads,
    device,
    seed,
    tissue_form,
    tissue_profile,
    **others,
):
    from dataclasses import replace

    from libmeta import disguise, recipes, sequence_training
    from libmeta.device import set_torch_threads
    from libmeta.errors import USAGE, MetaError
    from libmeta.shards import Shards
    from libmeta.training_log import TrainingLog
    from libmeta.training_state import Keeper
    from libmeta.workers import Workers

    _refuse(others, _OF_FEATURES, "shards: they hold labels and split already")
    if not recipe:
        raise MetaError("no recipe, --recipe; name m1-s, m2-s, m2e-s, m3-s, m1-window or m1-seq2seq", USAGE)
    chosen = recipes.get(recipe)
    if not isinstance(chosen, recipes.SequenceRecipe):
        raise MetaError(f"{recipe} is trained on features, not on shards; pipe ms-features into ms-train", USAGE)
    if output == "-":
        raise MetaError("a sequence model has a log and a picture beside it, -o -; name a file", USAGE)
    output = output or f"{recipe}.safetensors"
    _check_output(output)
    chosen = chosen.profile(profile or "lightweight")
    chosen = replace(chosen, epochs=epochs or chosen.epochs, windows=windows or chosen.windows)
    set_torch_threads(threads)
    shards = Shards(folder)
    sequence_training.choose(shards, chosen, base.split(",") if base else None, without)
    tissues = _tissues(shards, chosen, tissue_form, tissue_profile)
    config = sequence_training.configure(shards, chosen, tissues)
    with Workers.from_environment(device) as workers:
        if not workers.first:
            log.setLevel(logging.ERROR)
        key = sequence_training.key(shards, chosen, config, seed, dtype, workers, tissues)
        keeper = Keeper(_beside(output, ".state"), key, workers.first)
        if fresh:
            keeper.remove()
            workers.gather(None)
        with progress(chosen.epochs * max(chosen.windows // chosen.batch, 1), "batches", "training") as bar:
            suspicious = disguise.warn_of_channels(shards) if workers.first else []
            talk = TrainingLog(_beside(output, ".log.jsonl") if workers.first else None, bar)
            found = sequence_training.fit(shards, chosen, config, seed, dtype, workers, keeper, talk, tissues)
        if workers.first:
            _save_sequence(shards, chosen, config, found, suspicious, folder, output, seed)
            keeper.remove()


def _tissues(shards, recipe, form, profile) -> dict | None:
    """What the model keeps of its tissues; None for a recipe without them."""
    from libmeta import tissue_profiles, tissue_training
    from libmeta.errors import USAGE, MetaError

    if not recipe.tissues:
        if form or profile:
            raise MetaError(
                f"--tissue-{'form' if form else 'profile'} is for m2e-s, not {recipe.name}; leave it out", USAGE
            )
        return None
    if form and profile:
        raise MetaError("--tissue-form and --tissue-profile, command line; give one or the other", USAGE)
    return tissue_training.settings(shards, form or recipe.tissues, profile and tissue_profiles.read(profile))


def _beside(output: str, ending: str):
    from pathlib import Path

    return Path(output.removesuffix(".safetensors") + ending)


def _check_output(output: str) -> None:
    """Before hours of training, not after them."""
    from pathlib import Path

    from libmeta.errors import USAGE, MetaError

    if output.endswith((".state", ".log.jsonl", ".png", ".ubj")):
        raise MetaError(f"{output} is no name for a sequence model, -o; end it in .safetensors", USAGE)
    if Path(output).is_dir() or not Path(output).absolute().parent.is_dir():
        raise MetaError(f"not a file in a folder that is there, {output}; make the folder first")


def _save_sequence(shards, recipe, config, found, suspicious, folder, output, seed):
    from pathlib import Path

    from libmeta import encode, streams, training_figure
    from libmeta.errors import MetaError
    from libmeta.models.file import SequenceModel

    manifest = shards.manifest
    # a model that is a base model is the first of those it names
    names = sorted(shards.base_names, key=lambda n: found.is_base and n != shards.base_names[found.base])
    settings = {k: v for k, v in vars(recipe).items() if k not in ("doc", "profiles", "network", "leaves_out")}
    model = SequenceModel(
        config={**config, **found.config},
        kind=recipe.kind,
        recipe=recipe.name,
        target=recipe.target,
        base_models=[m for name in names for m in manifest["base_models"] if m["name"] == name],
        channels=shards.channels,
        modalities=encode.modalities(shards.channels),
        is_base=found.is_base,
        prior=found.prior,
        split={**manifest["split"], "seen": {part: shards.spans(part) for part in ("train", "valid")}},
        training={
            "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()},
            "seed": seed,
            "labels": {"recipe": manifest["recipe"], "rule": manifest["rule"]},
            "counts": manifest["counts"],
            "suspicious_channels": suspicious,
            **found.summary,
        },
        provenance=streams.step(
            "ms-train", arguments(), {"shards": str(Path(folder) / "manifest.json")}, (manifest["provenance"],)
        ),
        state=found.state,
        tissues=found.tissues,
    )
    _save(model.to_bytes(), output, recipe.name)
    try:
        training_figure.draw(found.history, found.summary["best_epoch"], recipe.name, _beside(output, ".png"))
    except MetaError as error:
        log.warning("%s", error)
    gain = model.training["valid_macro_ap"]
    best = found.summary["best_epoch"]
    what = f"the base model {names[0]}" if best is None else f"epoch {best}"
    log.info("%s; validation macro AP %.4f, base %.4f", what, gain["model"], gain["start"])


if __name__ == "__main__":
    main()
