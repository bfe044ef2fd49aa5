"""ms-train: features -> a model."""

import logging
import sys

from libmeta.cli import (
    FloatRange,
    IntRange,
    argument,
    arguments,
    option,
    progress,
    refuse_terminal,
    seed,
    threads,
    tool,
)  # fmt: skip

log = logging.getLogger("libmeta")


@tool(
    "Train a position model on FEATURES (an Arrow stream or Parquet of ms-features; - is standard input).\n\n"
    "The trees start from the base model and refine it. Rounds are chosen by average precision on validation regions at "
    "true prevalence; test regions are never read. Without -o the model goes to standard output or, where that is a "
    "terminal, to RECIPE.ubj."
)
@argument("features", default="-")
@option("--recipe", metavar="NAME", help="m1-p, m3-p or m3-p-psi.")
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
@option("-o", "--output", default=None, metavar="FILE", help="Model file; - is stdout.")
@threads
@seed
def main(features, recipe, target, split, train, valid, test, output, from_prior, rounds, threads, seed, **rule):
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    from libmeta import checkpoint, recipes, streams
    from libmeta import split as splits
    from libmeta import train as training
    from libmeta.device import thread_count
    from libmeta.errors import USAGE, MetaError

    if bool(recipe) == bool(target):
        raise MetaError("name a recipe or a target; give --recipe NAME or --target NAME, one of them", USAGE)
    chosen = recipes.get(recipe or recipes.for_target(target))
    chosen = replace(chosen, rounds=rounds or chosen.rounds)
    parts = splits.parse(split, train, valid, test)
    stream = streams.open_table(features).expect("features")
    names = training.choose_columns(stream.schema, chosen)
    options = _rule(rule, chosen, stream.metadata)
    if output == "-":
        refuse_terminal(output)
    start = "prior" if from_prior or any(c not in stream.schema.names for c in training.BASE_COLUMNS) else "base"
    with tempfile.TemporaryDirectory(prefix="ms-train-") as folder:
        with progress(None, "rows", "reading") as bar:
            spools = training.fill(stream, chosen, parts, names, options, start, Path(folder), bar)
        training.check_parts(spools, chosen)
        suspicious = training.warn_of_disguises(spools[splits.VALID], names)
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


def _rule(rule: dict, recipe, metadata: dict) -> dict:
    """Settings of the label rule; labels that came with the sites are kept, with theirs, unless some are given here."""
    from libmeta import label_sources

    given = {k: v for k, v in rule.items() if v is not None}
    if not given and metadata.get("recipe") == recipe.labels:
        return {"given": True, **metadata.get("rule", {})}
    if "reference" in given:
        tiers = [{"name": n} for n in metadata.get("tiers") or ("0", "1", "2")]
        given["reference"] = label_sources.reference(given["reference"], recipe.labels, tiers)
    return given


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


if __name__ == "__main__":
    main()
