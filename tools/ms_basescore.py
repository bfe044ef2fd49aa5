"""ms-basescore: DNA -> what a base model says of every base."""

import contextlib
import logging
import os
import time

from libmeta.cli import (
    Choice,
    IntRange,
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
    "PREFIX.{donor,acceptor}.{plus,minus}.bw; -o FILE.parquet, FILE.arrow or - a table. A command that was killed goes "
    "on where it stopped when it is given again (-o PREFIX, or with --cache)."
)
@argument("regions", required=False)
@option("--model", default="spliceai", show_default=True, help="Base model: spliceai or openspliceai.")
@option("--weights", metavar="FOLDER", help="Its weights [default: installed, $MS_SPLICEAI_WEIGHTS, ./weights/NAME].")
@option("--models", "count", type=int, metavar="N", help="Use the first N networks of the ensemble [default: all].")
@option("--region", "only", multiple=True, metavar="REGION", help="chr1 or chr1:100-200[:+] (1-based); repeatable.")
@option("--flank", type=IntRange(0), default=0, show_default=True, help="Further bases to score beside each region.")
@option("--engine", default="auto", show_default=True, type=Choice(["auto", "fft", "gemm", "torch", "reference"]),
        help="fft: compiled kernel; gemm: without a compiler; torch: any device; reference: the plain network.")  # fmt: skip
@option("--dtype", default="float32", show_default=True, type=Choice(["float32", "bfloat16"]),
        help="bfloat16 (engine torch) moves a score by up to 0.02: for tracks, not for variants.")  # fmt: skip
@option("--cache", metavar="FOLDER", help="Keep scores here, and take those that are there [default: until done].")
@genome
@config
@output
@threads
@device
def main(regions, model, weights, count, only, flank, engine, dtype, cache, genome, config, output, threads, device):
    if output == "-":
        refuse_terminal(output)
    import shutil

    from libmeta import basescore, schema, score_cache, streams
    from libmeta import config as settings
    from libmeta.genome import Genome
    from libmeta.inputs import Read, labelled_regions, whole
    from libmeta.regions import merge, widen

    fasta = Genome(settings.load(config).genome(genome))
    if regions:
        spans, _, read = labelled_regions(regions, None, True, only, settings.Config(), fasta)
    else:
        spans, read = whole(only, fasta), Read()
    is_table = output == "-" or output.endswith((".parquet", ".arrow"))
    parts = f"{output}.parts" if not cache and not is_table else None
    scorer = score_cache.open_model(model, fasta, weights, count, engine, dtype, device, threads, cache or parts)
    spans = widen(spans, flank, fasta.contigs)
    merged = merge(spans, fasta.contigs)
    bases = sum(r.end - r.start for r in merged)
    log.info(
        "%s, %d networks, engine %s (%s); %s bases, strands counted apart",
        model, scorer.engine.models, scorer.engine.name, dtype, f"{bases:,}",
    )  # fmt: skip
    form, about = schema.load("base_scores"), {"model": scorer.model}
    about["regions"] = [[r.chrom, r.start, r.end, r.strand] for r in merged]
    files = {**read.files, "genome": fasta.path, **scorer.inputs}
    chain = streams.step("ms-basescore", arguments(), files, read.upstream)
    started = time.monotonic()
    with _writer(is_table, output, fasta, form, chain, about) as out, progress(bases, "bp", "base") as bar:
        for scored, done in basescore.pieces(scorer, spans):
            if is_table:
                for rows in basescore.tables(scored):
                    out.write(rows)
            else:
                for piece, donor, acceptor in scored:
                    out.dense(piece.chrom, piece.start, piece.strand, donor, acceptor)
            bar.update(done)
    if parts:
        shutil.rmtree(scorer.cache.folder)
        with contextlib.suppress(OSError):  # something of the user's is in it
            os.rmdir(parts)
    seconds = time.monotonic() - started
    log.info(
        "%s bases in %.0f s, %s bases/s; %s of them computed, the rest from the cache",
        f"{bases:,}", seconds, f"{bases / max(seconds, 1e-9):,.0f}", f"{scorer.computed:,}",
    )  # fmt: skip


def _writer(is_table, output, fasta, form, chain, about):
    from libmeta import streams
    from libmeta.tracks import ScoreWriter

    if is_table:
        meta = streams.metadata(form.name, form.version, chain, **about)
        return streams.Writer(output, form.arrow.with_metadata(meta))
    return ScoreWriter(
        output, fasta.contigs, {"format": form.name, "version": form.version, "provenance": chain, **about}
    )


if __name__ == "__main__":
    main()
