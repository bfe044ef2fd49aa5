"""ms-basescore: DNA -> what a base model says of every base."""

import logging
import time

from libmeta.cli import (
    Choice,
    argument,
    arguments,
    config,
    device,
    genome,
    option,
    output,
    progress,
    refuse_terminal,
    threads,
    tool,
)  # fmt: skip

log = logging.getLogger("libmeta")


@tool(
    "Score every base of REGIONS as donor and acceptor with a frozen base model.\n\n"
    "REGIONS is a BED file or a sites table of ms-labels (its genes); - is standard input; left out, --region says "
    "where, or the whole genome is scored. A region without a strand is scored on both. -o PREFIX writes four bigWigs "
    "PREFIX.{donor,acceptor}.{plus,minus}.bw; -o FILE.parquet, FILE.arrow or - a table."
)
@argument("regions", required=False)
@option("--model", default="spliceai", show_default=True, help="Base model: spliceai or openspliceai.")
@option(
    "--weights",
    metavar="FOLDER",
    help="Its weights [default: installed, $MS_SPLICEAI_WEIGHTS, ./weights/NAME].",
)
@option(
    "--models",
    "count",
    type=int,
    metavar="N",
    help="Use the first N networks of the ensemble [default: all].",
)
@option(
    "--region",
    "only",
    multiple=True,
    metavar="REGION",
    help="chr1 or chr1:100-200[:+] (1-based); repeatable.",
)
@option("--engine", default="auto", show_default=True, type=Choice(["auto", "fft", "torch", "reference"]))
@option("--dtype", default="float32", show_default=True, type=Choice(["float32", "bfloat16"]))
@genome
@config
@output
@threads
@device
def main(regions, model, weights, count, only, engine, dtype, genome, config, output, threads, device):
    if output.endswith("-"):
        refuse_terminal(output)
    from libmeta import basemodels, basescore, engines, schema, streams
    from libmeta import config as settings
    from libmeta.device import pick, thread_count
    from libmeta.errors import USAGE, MetaError
    from libmeta.genome import Genome
    from libmeta.inputs import Read, labelled_regions, whole
    from libmeta.regions import merge
    from libmeta.tracks import ScoreWriter

    fasta = Genome(settings.load(config).genome(genome))
    if regions:
        spans, _, read = labelled_regions(regions, None, True, only, settings.Config(), fasta)
    else:
        spans, read = whole(only, fasta), Read()
    adapter = basemodels.get(model)
    paths = adapter.find(weights)
    if count is not None and not 1 <= count <= len(paths):
        raise MetaError(f"the ensemble has {len(paths)} networks, --models {count}; ask for 1 to {len(paths)}", USAGE)
    paths = paths[:count]
    scorer = engines.build(adapter.read(paths), engine, pick(device, threads), thread_count(threads), dtype)
    merged = merge(spans, fasta.contigs)
    bases = sum(r.end - r.start for r in merged)
    log.info(
        "%s, %d networks, engine %s (%s); %s bp on both strands",
        model,
        scorer.models,
        scorer.name,
        dtype,
        f"{bases:,}",
    )
    form = schema.load("base_scores")
    about = {
        "model": {
            "name": adapter.NAME,
            "sha256": basemodels.digest(paths),
            "networks": len(paths),
            "context": scorer.context,
            "dtype": dtype,
            "licence": adapter.LICENCE,
            "trained_on": list(adapter.TRAINED_ON),
        },
        "regions": [[r.chrom, r.start, r.end, r.strand] for r in merged],
    }
    files = {**read.files, "genome": fasta.path, **{p.name: p for p in paths}}
    chain = streams.step("ms-basescore", arguments(), files, read.upstream)
    started = time.monotonic()
    with (
        _writer(output, fasta, form, chain, about, ScoreWriter, streams) as out,
        progress(bases, "bp", "base") as bar,
    ):
        for scored, done in basescore.pieces(scorer, fasta, spans):
            if isinstance(out, ScoreWriter):
                for region, start, donor, acceptor in scored:
                    out.dense(region.chrom, start, region.strand, donor, acceptor)
            else:
                out.write(basescore.table(scored))
            bar.update(done)
    seconds = time.monotonic() - started
    log.info("%s bp in %.0f s, %s bp/s", f"{bases:,}", seconds, f"{bases / max(seconds, 1e-9):,.0f}")


def _writer(output, fasta, form, chain, about, tracks, streams):
    if output == "-" or output.endswith((".parquet", ".arrow")):
        meta = streams.metadata(form.name, form.version, chain, **about)
        return streams.Writer(output, form.arrow.with_metadata(meta))
    about = {"format": form.name, "version": form.version, "provenance": chain, **about}
    return tracks(output, fasta.contigs, about)


if __name__ == "__main__":
    main()
