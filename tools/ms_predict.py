"""ms-predict: a model and features -> refined probabilities."""

import logging

from libmeta.cli import (
    FloatRange,
    argument,
    arguments,
    config,
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
    "Refine splice-site probabilities: apply a model to FEATURES (Arrow stream or Parquet of ms-features; - is stdin).\n\n"
    "-o FILE.parquet, FILE.arrow or - writes the scores table, -o FILE.bed sites above --min-score. --tracks PREFIX also "
    "writes four bigWigs, those of the base model as PREFIX.base, and PREFIX.igv.xml, a session with both."
)
@option("-m", "--model", required=True, metavar="FILE", help="Model of ms-train (.ubj).")
@argument("features", default="-")
@option("--tracks", metavar="PREFIX", help="Also write bigWigs and an IGV session (needs the genome).")
@option("--annotation", metavar="GTF", help="Shown in the IGV session.")
@option("--min-score", type=FloatRange(0, 1), default=0.1, show_default=True, help="Lowest score in BED output.")
@threads
@output
@genome
@config
def main(model, features, tracks, annotation, min_score, threads, output, genome, config):
    if output == "-":
        refuse_terminal(output)
    import contextlib

    from libmeta import checkpoint, predict, schema, streams
    from libmeta.device import thread_count
    from libmeta.errors import NOTHING_TO_SCORE, MetaError
    from libmeta.outputs import BedWriter, TrackWriter

    refiner = checkpoint.from_file(model)
    stream = streams.open_table(features).expect("features")
    predict.check(refiner, stream.schema, stream.metadata.get("base_models", []), stream.name)
    if refiner.booster is not None:
        refiner.booster.set_param({"nthread": thread_count(threads)})
    files = {"model": model, **({} if features == "-" else {"features": features})}
    chain = streams.step("ms-predict", arguments(), files, (stream.provenance, refiner.provenance))
    form, about = schema.load("scores"), predict.about(refiner, model)
    meta = streams.metadata(form.name, form.version, chain, model=about, calibration=refiner.temperature != 1.0)
    with contextlib.ExitStack() as stack:
        if output.endswith(".bed"):
            out = stack.enter_context(BedWriter(output, min_score, chain))
        else:
            out = stack.enter_context(streams.Writer(output, form.arrow.with_metadata(meta)))
        writers = [out]
        if tracks:
            fasta = _genome(genome, config)
            described = {"format": form.name, "version": form.version, "model": about, "provenance": chain}
            primary = refiner.base_models[0] if refiner.base_models else {}
            base = {
                "format": "base_scores",
                "version": schema.load("base_scores").version,
                "model": primary,
                "provenance": chain,
            }
            writers.append(stack.enter_context(TrackWriter(tracks, fasta, described, base, annotation)))
        rows = 0
        with progress(None, "rows", "predicting") as bar:
            for batch in predict.score(refiner, stream):
                for writer in writers:
                    writer.write(batch)
                rows += batch.num_rows
                bar.update(batch.num_rows)
        if not rows:
            raise MetaError(
                f"no rows to score, {stream.name}; check the regions given to ms-features", NOTHING_TO_SCORE
            )
    log.info("%s rows scored with %s (%d trees on %s)", f"{rows:,}", refiner.recipe, refiner.trees, refiner.start)


def _genome(genome, config):
    from libmeta import config as settings
    from libmeta.genome import Genome

    return Genome(settings.load(config).genome(genome))


if __name__ == "__main__":
    main()
