"""ms-features: regions or sites -> one row of features per sampled position."""

import contextlib
import logging
import sys

from libmeta.cli import (
    FloatRange,
    IntRange,
    argument,
    arguments,
    batch_size,
    config,
    genome,
    option,
    output,
    progress,
    refuse_terminal,
    seed,
    threads,
    tool,
)  # fmt: skip

log = logging.getLogger("libmeta")


@tool(
    "Turn REGIONS into features: one row per sampled position, as an Arrow stream or Parquet.\n\n"
    "REGIONS is a BED file, or a sites table of ms-labels (then the genes it looked at, with its labels); - is standard "
    "input. Sources of evidence, base scores and labels are named in ms.toml. With --dense: every base of REGIONS with its "
    "base scores and channels, without labels, for ms-shard."
)
@argument("regions", default="-")
@option("--modalities", default="all", show_default=True, metavar="A,B", help="a,b, all, or all-but-x[,y].")
@option(
    "--labels",
    metavar="FILE",
    help="Sites table for the labels [default: REGIONS, or the annotation of ms.toml].",
)
@option("--no-labels", is_flag=True, help="No label columns even where ms.toml names an annotation.")
@option(
    "--region",
    "only",
    multiple=True,
    metavar="REGION",
    help="Only here: chr1 or chr1:100-200 (1-based); repeatable.",
)
@option(
    "--min-score",
    type=FloatRange(0, 1),
    help="Base score from which every position is taken [default: 0.01].",
)
@option("--dinucleotide", type=FloatRange(0, 1), help="Chance of a position beside GT, GC or AG [default: 0.1].")
@option("--background", type=FloatRange(0, 1), help="Chance of any other position [default: 0.01]; 1 takes all.")
@option("--dense", is_flag=True, help="Every base and its channels, without labels: what ms-shard packs.")
@option(
    "--flank", type=IntRange(0), metavar="N", help="Further bases beside each region, with --dense [default: 1000]."
)
@option("--dry-run", is_flag=True, help="Only open every source and print what each column will be made of.")
@config
@genome
@output
@batch_size
@threads
@seed
def main(
    regions, modalities, labels, no_labels, only, min_score, dinucleotide, background, dense, flank, dry_run, output,
    **options,
):  # fmt: skip
    if not dry_run:
        refuse_terminal(output)
    import libmeta.config
    from libmeta import features, preflight, schema, streams
    from libmeta import modalities as known
    from libmeta.genome import Genome
    from libmeta.inputs import labelled_regions
    from libmeta.regions import merge
    from libmeta.sampling import Sampling

    _check_usage(dense, flank, (min_score, dinucleotide, background))
    wanted, must = known.parse(modalities)
    settings = libmeta.config.load(options["config"])
    fasta = Genome(settings.genome(options["genome"]))
    given = {"min_score": min_score, "dinucleotide": dinucleotide, "background": background}
    sampling = Sampling(
        **{**settings.sampling, **{k: v for k, v in given.items() if v is not None}}, seed=options["seed"]
    )
    spans, index, read = labelled_regions(regions, labels, no_labels, only, settings, fasta)
    sources = features.Sources(settings, fasta, index, options["threads"])
    if dry_run:
        sys.stdout.writelines(preflight.lines(preflight.check(sources, wanted, must)))
        return
    readers, absent = features.open_readers(sources, wanted, must)
    if absent:
        log.info("no source in ms.toml, left out: %s", ", ".join(absent))
    bases = sum(r.end - r.start for r in merge(spans, fasta.contigs))
    files = {f"{n}.{k}": p for n, r in readers.items() for k, p in r.inputs.items()} | read.files
    files |= {f"base_scores.{n}.{k}": p for n, s in sources.base_scores.items() for k, p in s.inputs.items()}
    files["genome"] = fasta.path
    upstream = (*read.upstream, *(s.about.get("provenance", []) for s in sources.base_scores.values()))
    chain = streams.step("ms-features", arguments(), files, upstream, features.settings(readers))
    if dense:
        _write_dense(
            sources, readers, absent, spans, 1000 if flank is None else flank, chain, output, options["threads"]
        )
        return
    form = schema.load("features")
    meta = streams.metadata(
        form.name,
        form.version,
        chain,
        modalities={"present": list(readers), "absent": absent},
        sampling=vars(sampling),
        recipe=index.recipe if index else None,
        tiers=index.tiers if index else [],
        rule=index.rule if index else {},
        base_models=_described(sources),
        regions_bp=bases,
    )
    schema_out = features.arrow_schema(readers, index is not None).with_metadata(meta)
    count = features.process_count(sources, options["threads"], spans, features.stretch(sampling))
    found = features.rows(sources, readers, spans, sampling, options["batch_size"], count)
    with streams.Writer(output, schema_out) as out, progress(bases, "bp", "features") as bar, contextlib.closing(found):
        for batch, done in found:
            out.write(batch)
            bar.update(done)
    log.info("%s rows stand for %s bases; %s features", f"{out.rows:,}", f"{bases:,}", _count(schema_out))


def _check_usage(dense: bool, flank: int | None, sampling: tuple) -> None:
    from libmeta.errors import USAGE, MetaError

    if not dense and flank is not None:
        raise MetaError("--flank without --dense, command line; features look beyond their regions anyway", USAGE)
    if dense and any(v is not None for v in sampling):
        raise MetaError("sampling options beside --dense, command line; it takes every base", USAGE)


def _write_dense(sources, readers, absent, spans, flank, chain, output, threads) -> None:
    import pyarrow as pa

    from libmeta import dense, dense_stream, features, schema, streams

    channels, lengths = dense.channels(readers), sources.genome.contigs.lengths
    present = [n for n in readers if n == "base_scores" or n in {c.partition(".")[0] for c in channels}]
    if left := [n for n in readers if n not in present]:
        log.info("not known base by base, left out: %s", ", ".join(left))
    base_names = list(sources.base_scores) if "base_scores" in readers else []
    columns = dense_stream.columns(base_names, channels)
    bases = sum(r.end - r.start for r in dense.cells(spans, sources.genome.contigs, dense.GRID))
    form = schema.load("dense")
    meta = streams.metadata(
        form.name,
        form.version,
        chain,
        modalities={"present": present, "absent": absent},
        channels=dense_stream.described(channels, sources.has_genes),
        base_models=_described(sources) if base_names else [],
        contigs=lengths,
        flank=flank,
        grid=dense.GRID,
        regions_bp=bases,
    )
    schema_out = pa.schema([c.field for c in columns]).with_metadata(meta)
    count = features.process_count(sources, threads, spans)
    found = dense_stream.batches(sources, readers, base_names, spans, flank, schema_out, count)
    with streams.Writer(output, schema_out) as out, progress(bases, "bp", "dense") as bar, contextlib.closing(found):
        for batch, done in found:
            out.write(batch)
            bar.update(done)
    log.info("%s bases and their flanks; %d base models, %d channels", f"{bases:,}", len(base_names), len(channels))


def _described(sources) -> list[dict]:
    """What is known of each base model, the primary first."""
    return [{**s.about.get("model", {}), "name": n} for n, s in sources.base_scores.items()]


def _count(form) -> int:
    from libmeta import schema

    return sum(schema.role(f) == "feature" for f in form)


if __name__ == "__main__":
    main()
