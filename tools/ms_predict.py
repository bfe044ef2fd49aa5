"""ms-predict: a model and features, or regions -> refined probabilities."""

import contextlib
import logging

from libmeta.cli import (
    Choice,
    FloatRange,
    argument,
    arguments,
    batch_size,
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
    "Refine splice-site probabilities with a model of ms-train.\n\n"
    "A position model (.ubj) is applied to INPUT, features of ms-features (Arrow stream or Parquet; - is stdin, the "
    "default). A sequence model (.safetensors) refines every base of INPUT, a BED file or a sites table of ms-labels (its "
    "genes; - is stdin); left out, --region says where, or the whole genome is scored; a region without a strand is "
    "scored on both. Base scores and evidence of a sequence model are named in ms.toml.\n\n"
    "-o FILE.parquet, FILE.arrow or - writes the scores table, -o FILE.bed sites above --min-score. --tracks PREFIX also "
    "writes four bigWigs, those of the base model as PREFIX.base, and PREFIX.igv.xml, a session with both. With --tissue "
    "the table has columns for each tissue, the bigWigs are PREFIX.TISSUE, and a BED holds the mean over the tissues."
)
@option("-m", "--model", required=True, metavar="FILE", help="Model of ms-train (.ubj or .safetensors).")
@argument("source", metavar="[INPUT]", required=False)
@option(
    "--region", "only", multiple=True, metavar="REGION", help="Only here: chr1 or chr1:100-200[:+]; repeatable. (*)"
)
@option("--without", multiple=True, metavar="MODALITY", help="Predict although its source is lacking; repeatable. (*)")
@option("--uncovered", type=Choice(["uniform"]),
        help="Also refine bases without a base score, from 1/3 for each class, and tell how many. (*)")  # fmt: skip
@option("--tissue", "tissues", multiple=True, metavar="NAME[,NAME]",
        help="Of a model of tissues (m2e-s): which, as liver or brain_cortex; all; repeatable. (*)")  # fmt: skip
@option("--tissue-profile", metavar="TSV", help="Of such a model trained on profiles: those of further tissues. (*)")
@option("--tracks", metavar="PREFIX", help="Also write bigWigs and an IGV session (needs the genome).")
@option("--annotation", metavar="GTF", help="Shown in the IGV session.")
@option("--min-score", type=FloatRange(0, 1), default=0.1, show_default=True, help="Lowest score in BED output.")
@option("--dtype", default="float32", show_default=True, type=Choice(["float32", "bfloat16"]),
        help="bfloat16 is faster where the processor has it; a score moves by up to 0.02. (*) Sequence models only.")  # fmt: skip
@batch_size
@threads
@device
@output
@genome
@config
def main(model, source, **options):
    if options["output"] == "-":
        refuse_terminal("-")
    from libmeta import predict

    if predict.is_sequence(model):
        _sequence(model, source, **options)
    else:
        _position(model, source or "-", **options)


def _position(
    model, features, only, without, uncovered, dtype, device, threads, batch_size, output, tracks, tissues, tissue_profile,
    **options,
):  # fmt: skip
    from libmeta import checkpoint, predict, schema, streams
    from libmeta.device import thread_count
    from libmeta.errors import NOTHING_TO_SCORE, USAGE, MetaError

    asked = {
        "--region": only,
        "--without": without,
        "--uncovered": uncovered,
        "--tissue": tissues,
        "--tissue-profile": tissue_profile,
        "--dtype": dtype != "float32",
        "--device": device not in ("auto", "cpu"),
    }
    if unfit := [name for name, given in asked.items() if given]:
        raise MetaError(f"{unfit[0]} is for sequence models and {model} is not one; choose when making features", USAGE)
    refiner = checkpoint.from_file(model)
    stream = streams.open_table(features).expect("features")
    predict.check(refiner, stream.schema, stream.metadata.get("base_models", []), stream.name)
    if refiner.booster is not None:
        refiner.booster.set_param({"nthread": thread_count(threads)})
    files = {"model": model, **({} if features == "-" else {"features": features})}
    chain = streams.step("ms-predict", arguments(), files, (stream.provenance, refiner.provenance))
    form, about = schema.load("scores"), predict.about(refiner, model, trees=refiner.trees)
    meta = streams.metadata(form.name, form.version, chain, model=about, calibration=refiner.temperature != 1.0)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_table_or_bed(output, options["min_score"], chain, meta))]
        if tracks:
            fasta = _genome(options["genome"], options["config"])
            writers.append(stack.enter_context(_tracks(tracks, fasta, about, refiner, chain, options["annotation"])))
        rows = 0
        with progress(None, "rows", "predicting") as bar:
            for batch in predict.score(refiner, stream, batch_size):
                for writer in writers:
                    writer.write(batch)
                rows += batch.num_rows
                bar.update(batch.num_rows)
        if not rows:
            raise MetaError(
                f"no rows to score, {stream.name}; check the regions given to ms-features", NOTHING_TO_SCORE
            )
    log.info("%s rows scored with %s (%d trees on %s)", f"{rows:,}", refiner.recipe, refiner.trees, refiner.start)


def _sequence(
    path, regions, only, without, uncovered, dtype, device, threads, batch_size, output, tracks, tissues, tissue_profile,
    **options,
):  # fmt: skip
    from libmeta import config as settings
    from libmeta import dense_stream, predict, predict_sequence, predict_tissues, schema, streams
    from libmeta.device import pick
    from libmeta.features import settings as settings_of
    from libmeta.inputs import scored_regions
    from libmeta.models.file import SequenceModel
    from libmeta.regions import merge

    model = SequenceModel.from_file(path)
    asked = predict_tissues.ask(model, tissues, tissue_profile, path)
    names, given = (asked.names, asked.inputs) if asked else ([], None)
    size = predict_sequence.piece_size(len(names))
    wanted = predict_sequence.wanted_modalities(model, without)
    toml, device = settings.load(options["config"]), pick(device)
    fasta = _genome(options["genome"], options["config"])
    in_genes = bool(set(wanted) & set(dense_stream.NEEDS_GENES))
    spans, labels, read = scored_regions(regions, only, toml, fasta, in_genes)
    sources, readers = predict_sequence.open_sources(model, toml, fasta, without, labels, device, threads)
    refiner = predict_sequence.Refiner(model, device, dtype, batch_size, threads, uncovered == "uniform", given)
    files = {"model": path, **read.files, **predict_sequence.inputs(sources, readers)}
    upstream = (
        *read.upstream,
        *(s.about.get("provenance", []) for s in sources.base_scores.values()),
        model.provenance,
    )
    chain = streams.step("ms-predict", arguments(), files, upstream, settings_of(readers))
    form, about = schema.load("scores"), predict.about(model, path, kind=model.kind, is_base=model.is_base)
    if asked:
        about["tissues"] = {k: model.tissues[k] for k in ("names", "activity")}
    bases = sum(r.end - r.start for r in merge(spans, fasta.contigs))
    more = {"modalities": {"present": wanted, "absent": list(without)}, "regions_bp": bases}
    more |= {"uncovered": uncovered} if uncovered else {}
    more |= {"tissues": names} if asked else {}
    meta = streams.metadata(form.name, form.version, chain, model=about, calibration=False, **more)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(_table_or_bed(output, options["min_score"], chain, meta, names))
        drawn = None
        if tracks:
            short = asked.short if asked else []
            drawn = stack.enter_context(
                _tracks(tracks, fasta, about, model, chain, options["annotation"], short, **more)
            )
        known = 0
        with progress(bases, "bp", "predicting") as bar:
            for scored, done in predict_sequence.score(refiner, sources, readers, spans, size):
                batch = predict_sequence.table(scored, names)
                out.write(batch)
                for piece in scored if drawn else ():
                    refined = piece.by_tissue if asked else piece.refined.T
                    drawn.dense(piece.chrom, piece.start, piece.strand, refined, piece.base)
                known += done - batch.column("donor").null_count
                bar.update(done)
        if not known:
            raise _no_base_scores(model, toml)
    if uncovered:
        log.warning(
            "%s of %s bases have no score of %s: taken as 1/3 each, refined from there", f"{refiner.filled:,}", f"{bases:,}",
            refiner.base_names[0] if refiner.base_names else "a base model",
        )  # fmt: skip
    log.info("%s bases scored with %s; %s have no base score", f"{known:,}", model.recipe, f"{bases - known:,}")
    if model.is_base:
        log.info("%s gained nothing in training: its scores are those of its base model", path)


def _no_base_scores(model, toml):
    from libmeta.errors import NOTHING_TO_SCORE, MetaError

    name = model.base_models[0]["name"]
    return MetaError(
        f"no base score of {name} at any base of the regions, {toml.name}; "
        "score them with ms-basescore first (runs of N have none)",
        NOTHING_TO_SCORE,
    )


def _table_or_bed(output, min_score, chain, meta, tissues=()):
    from libmeta import predict, streams
    from libmeta.outputs import BedWriter

    if output.endswith(".bed"):
        return BedWriter(output, min_score, chain)
    return streams.Writer(output, predict.scores_schema(tissues).with_metadata(meta))


def _tracks(prefix, fasta, about, model, chain, annotation, short=(), **more):
    from libmeta import schema
    from libmeta.outputs import TrackWriter

    primary = model.base_models[0] if model.base_models else {}
    described = [
        {"format": name, "version": schema.load(name).version, "model": whose, "provenance": chain}
        for name, whose in (("scores", about), ("base_scores", primary))
    ]
    return TrackWriter(prefix, fasta, {**described[0], **more}, described[1], annotation, short)


def _genome(genome, config):
    from libmeta import config as settings
    from libmeta.genome import Genome

    return Genome(settings.load(config).genome(genome))


if __name__ == "__main__":
    main()
