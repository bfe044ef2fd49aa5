"""ms-features: regions or sites -> one row of features per sampled position."""

import logging

from libmeta.cli import (
    FloatRange,
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
    tool,
)  # fmt: skip

log = logging.getLogger("libmeta")


@tool(
    "Turn REGIONS into features: one row per sampled position, as an Arrow stream or Parquet.\n\n"
    "REGIONS is a BED file, or a sites table of ms-labels (then the genes it looked at, with its labels); - is standard "
    "input. Sources of evidence, base scores and labels are named in ms.toml."
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
@config
@genome
@output
@batch_size
@seed
def main(regions, modalities, labels, no_labels, only, min_score, dinucleotide, background, output, **options):
    refuse_terminal(output)
    import libmeta.config
    from libmeta import features, schema, streams
    from libmeta import modalities as known
    from libmeta.genome import Genome
    from libmeta.inputs import labelled_regions
    from libmeta.regions import merge
    from libmeta.sampling import Sampling

    wanted, must = known.parse(modalities)
    settings = libmeta.config.load(options["config"])
    fasta = Genome(settings.genome(options["genome"]))
    given = {"min_score": min_score, "dinucleotide": dinucleotide, "background": background}
    sampling = Sampling(
        **{**settings.sampling, **{k: v for k, v in given.items() if v is not None}}, seed=options["seed"]
    )
    spans, index, read = labelled_regions(regions, labels, no_labels, only, settings, fasta)
    sources = features.Sources(settings, fasta, index)
    readers, absent = features.open_readers(sources, wanted, must)
    if absent:
        log.info("no source in ms.toml, left out: %s", ", ".join(absent))
    bases = sum(r.end - r.start for r in merge(spans, fasta.contigs))
    files = {f"{n}.{k}": p for n, r in readers.items() for k, p in r.inputs.items()} | read.files
    files |= {f"base_scores.{n}.{k}": p for n, s in sources.base_scores.items() for k, p in s.inputs.items()}
    files["genome"] = fasta.path
    form = schema.load("features")
    meta = streams.metadata(
        form.name,
        form.version,
        streams.step(
            "ms-features",
            arguments(),
            files,
            (*read.upstream, *(s.about.get("provenance", []) for s in sources.base_scores.values())),
        ),
        modalities={"present": list(readers), "absent": absent},
        sampling=vars(sampling),
        recipe=index.recipe if index else None,
        tiers=index.tiers if index else [],
        rule=index.rule if index else {},
        base_models=[{**s.about.get("model", {}), "name": n} for n, s in sources.base_scores.items()],
        regions_bp=bases,
    )
    schema_out = features.arrow_schema(readers, index is not None).with_metadata(meta)
    with streams.Writer(output, schema_out) as out, progress(bases, "bp", "features") as bar:
        for batch, done in features.rows(sources, readers, spans, sampling, options["batch_size"]):
            out.write(batch)
            bar.update(done)
    log.info("%s rows stand for %s bases; %s features", f"{out.rows:,}", f"{bases:,}", _count(schema_out))


def _count(form) -> int:
    from libmeta import schema

    return sum(schema.role(f) == "feature" for f in form)


if __name__ == "__main__":
    main()
