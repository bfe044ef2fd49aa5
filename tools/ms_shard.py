"""ms-shard: every base and its labels -> training shards."""

import logging

from libmeta.cli import FloatRange, IntRange, argument, arguments, option, progress, tool

log = logging.getLogger("libmeta")


@tool(
    "Pack DENSE (an Arrow stream or Parquet of ms-features --dense; - is standard input) and the labels of a sites table "
    "into training shards: a folder of HDF5 files and manifest.json.\n\n"
    "Training and validation regions only; test regions never get in. A command that was killed goes on where it stopped "
    "when it is given again. Where DENSE is a folder of shards, they are labelled anew: the same bases and split."
)
@argument("dense", metavar="DENSE|SHARDS", default="-")
@option("--labels", metavar="FILE", help="Sites table of ms-labels.")
@option(
    "--recipe", metavar="NAME", help="m1-s, m2e-s, m3-s, ... [default: the one that the sites table was labelled for]."
)
@option("--split", metavar="NAME", help="By chromosome: spliceai or held-out.")
@option("--train", multiple=True, metavar="REGION", help="chr1 or chr1:100-200 (1-based) [default: all that is left].")
@option("--valid", multiple=True, metavar="REGION", help="Validation [default: one 100 kb block in five].")
@option("--test", multiple=True, metavar="REGION", help="Left out altogether; part of the manifest.")
@option("--reference", metavar="TIERS", help="m3: tiers that count as annotated, by name or number [default: all].")
@option("--min-support", type=IntRange(1), help="m3: reads that support a site [default: 3].")
@option("--min-psi", type=FloatRange(0, 1), help="m3: PSI that supports a site [default: 0.05].")
@option("--tier-weights", metavar="W,W,W", help="m2c: weight of each tier, in order or NAME=W [default: 1,0.85,0.65].")
@option("--bases", type=IntRange(1), metavar="N", help="Most bases in one file [default: 16777216].")
@option("--check", metavar="FOLDER", help="Only compare the shards of FOLDER with their checksums.")
@option("-o", "--output", metavar="FOLDER", help="Where to write; the folder is made.")
def main(dense, labels, recipe, split, train, valid, test, bases, check, output, **rule):
    from pathlib import Path

    from libmeta import split as splits
    from libmeta import streams
    from libmeta.errors import USAGE, MetaError
    from libmeta.shards import Shards

    if check:
        log.info("%s: ok, %s bases", check, f"{Shards(check).check():,}")
        return
    for name, value, what in (("--labels", labels, "the sites table"), ("-o", output, "the folder to write")):
        if not value:
            raise MetaError(f"no {name}, command line; name {what}", USAGE)
    if Path(dense).is_dir():
        if split or train or valid or test or bases:
            raise MetaError(
                "the split of shards stays as it is, command line; leave out --split, --train, ... --bases", USAGE
            )
        _label_anew(Shards(dense), labels, recipe, output, rule)
        return
    parts = splits.parse(split, train, valid, test)
    with streams.open_input(dense) as handle:
        stream = streams.open_table(dense, handle).expect("dense")
        _pack(stream, labels, recipe, parts, bases, output, rule, {} if dense == "-" else {"dense": dense})


def _label_anew(shards, labels, recipe, output, rule) -> None:
    from libmeta import label_sources, shard_labels, shard_relabel, streams
    from libmeta.contigs import Contigs
    from libmeta.errors import USAGE, MetaError
    from libmeta.shards import MANIFEST

    table = streams.open_table(labels)
    index = shard_labels.open_sites(table, Contigs(shard_relabel.lengths(shards), str(shards.folder)))
    chosen = shard_labels.recipe(recipe, index, table.name)
    if chosen.labels == "m2e" or shards.tissues is not None:
        raise MetaError(
            f"sites by tissue are packed with their shards, {shards.folder}; make them with ms-features --dense", USAGE
        )
    options = label_sources.rule(rule, chosen, index.recipe, index.tiers, index.rule)
    upstream = (shards.manifest["provenance"], table.provenance)
    files = {"labels": labels, "shards": str(shards.folder / MANIFEST)}
    chain = streams.step("ms-shard", arguments(), files, upstream)
    labeller = shard_labels.Labeller(index, chosen, options)
    told = {
        "recipe": chosen.labels, "provenance": chain,
        "rule": {**options, "labels": chosen.labels, "reference_weight": chosen.reference_weight},
    }  # fmt: skip
    with progress(sum(f["bases"] for f in shards.manifest["files"]), "bp", "labelling") as bar:
        counts = shard_relabel.relabel(shards, labeller, output, told, labels, bar.update)
    _tell(counts)


def _pack(stream, labels, recipe, split, bases, output, rule, files) -> None:
    import time
    from pathlib import Path

    from libmeta import dense_stream, label_sources, shard_labels, shard_tissues, streams
    from libmeta.contigs import Contigs
    from libmeta.shard_writer import BASES, Layout, ShardWriter, pack

    table = streams.open_table(labels)
    meta = stream.metadata
    contigs = Contigs(meta["contigs"], stream.name)
    index = shard_labels.open_sites(table, contigs)
    chosen = shard_labels.recipe(recipe, index, table.name)
    by_tissue = shard_tissues.take(labels) if chosen.labels == "m2e" else None
    options = label_sources.rule(rule, chosen, index.recipe, index.tiers, index.rule)
    chain = streams.step("ms-shard", arguments(), {"labels": labels, **files}, (stream.provenance, table.provenance))
    layout = Layout(list(meta["contigs"]), meta["base_models"], meta["channels"], chain)
    labeller = shard_labels.Labeller(index, chosen, options)
    told = {
        "base_models": meta["base_models"], "modalities": meta["modalities"], "flank": meta["flank"], "provenance": chain,
        "recipe": chosen.labels, "split": split.describe(),
        "rule": {**options, "labels": chosen.labels, "reference_weight": chosen.reference_weight},
    }  # fmt: skip
    started = time.monotonic()
    key = {**told, "channels": meta["channels"], "contigs": meta["contigs"], "bases": bases}
    with (
        ShardWriter(output, layout, key, bases or BASES) as writer,
        progress(meta["regions_bp"], "bp", "packing") as bar,
    ):
        found = pack(dense_stream.read(stream), labeller, split, layout, meta["flank"], writer, stream.name, bar.update)
        labeller.check(labels)
        _refuse_empty(found, stream.name)
        more = shard_tissues.put(Path(output), by_tissue, split, contigs)
        writer.manifest(
            {**told, **more, "files": found.files, "counts": found.counts, "channels": _scaled(layout, found)}
        )
    packed, seconds = sum(f["bases"] for f in found.files), time.monotonic() - started
    size = sum(f["size"] for f in found.files)
    log.info(
        "%s bases in %d files (%d written now), %.1f bytes per base, %s bases/s",
        f"{packed:,}", len(found.files), writer.written, size / packed, f"{packed / max(seconds, 1e-9):,.0f}",
    )  # fmt: skip
    _tell(found.counts)


def _tell(counts: dict) -> None:
    for part, found in counts.items():
        log.info("%s: %s", part, ", ".join(f"{k} {v:,}" for k, v in found.items() if k != "weighted"))


def _scaled(layout, found) -> list[dict]:
    """Channels with centre and scale; one that is unknown all over the training part is told."""
    out = []
    for channel, (centre, scale, known) in zip(layout.channels, found.scales, strict=True):
        if not known:
            log.warning("warning: no value of %s in the training part", channel["name"])
        out.append({**channel, "centre": centre, "scale": scale})
    return out


def _refuse_empty(found, where: str) -> None:
    from libmeta.errors import NOTHING_TO_SCORE, MetaError

    train = found.counts["train"]
    if not sum(v for k, v in train.items() if k != "weighted"):
        raise MetaError(f"no base of the training part, {where}; check --train, --valid and --test", NOTHING_TO_SCORE)


if __name__ == "__main__":
    main()
