"""ms-eval: the base model and the refined model on the same positions, at true prevalence."""

import json
import logging
import sys

from libmeta.cli import IntRange, argument, arguments, config, option, output, progress, seed, tool

log = logging.getLogger("libmeta")


@tool(
    "Compare refined and base scores at true prevalence: JSON, an HTML page, a MultiQC section.\n\n"
    "SCORES is a table made by ms-predict (- is standard input), or the prefix of four score bigWigs. "
    "A metrics.json made before is shown again (with --table).",
    epilog="Exit code 3: nothing to score (no row in the scope of the labels, or no site there).",
)
@argument("scores", default="-")
@option("--labels", metavar="SITES", help="Sites with labels, from ms-labels --recipe. Needed, except for a JSON.")
@output
@option("--html", metavar="FILE", help="Write a page with tables and plots (needs matplotlib).")
@option("--multiqc", "multiqc_file", metavar="FILE", help="Write a MultiQC section; end its name in _mqc.json.")
@option("--base", metavar="PREFIX|NAME", help="Base scores: bigWig prefix, .parquet, or a name in ms.toml.")
@option("--region", "regions", multiple=True, metavar="R", help="Only here: chr1, chr1:100-200, chr1:100-200:+.")
@option(
    "--bootstrap",
    "draws",
    type=IntRange(0),
    default=500,
    show_default=True,
    help="Draws of genes; 0 for none.",
)
@seed
@option("--locus", "loci", multiple=True, metavar="R", help="Draw this region on the page [default: 3 examples].")
@option("--table", "as_table", is_flag=True, help="Print the table instead of the JSON where no -o is given.")
@config
def main(scores, labels, output, html, multiqc_file, base, regions, draws, seed, loci, as_table, config):
    from libmeta.evaluation_table import multiqc, text_table

    if scores.endswith(".json"):
        metrics = _read_metrics(scores, html)
    else:
        metrics = _evaluate(scores, labels, html, base, regions, draws, seed, loci, config)
        log.info("%s", "\n" + text_table(metrics))
    if multiqc_file:
        sample = "scores" if scores == "-" else scores.rsplit("/", 1)[-1].removesuffix(".parquet")
        _write(multiqc_file, _json(multiqc(metrics, sample)))
    _write(output, text_table(metrics) + "\n" if as_table and output == "-" else _json(metrics))


def _read_metrics(path, html):
    from libmeta.errors import USAGE, MetaError
    from libmeta.streams import open_input

    if html:
        raise MetaError(f"a page needs the scores, not {path}; give SCORES and --labels", USAGE)
    try:
        with open_input(path) as handle:
            metrics = json.load(handle)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MetaError(f"not JSON ({error}), {path}; make it again with ms-eval -o") from error
    if not isinstance(metrics, dict) or metrics.get("format") != "metrics":
        raise MetaError(f"not metrics of ms-eval, {path}; make them with ms-eval -o")
    return metrics


def _evaluate(scores, labels, html, base, regions, draws, seed, loci, config):
    from libmeta import report
    from libmeta.errors import NOTHING_TO_SCORE, USAGE, MetaError
    from libmeta.evaluate import Evaluation
    from libmeta.scored_rows import open_rows
    from libmeta.streams import open_table
    from libmeta.truth import Truth

    if not labels:
        raise MetaError("no labels, --labels; give the sites table of ms-labels --recipe m1", USAGE)
    if labels == scores == "-":
        raise MetaError("two tables on one standard input, SCORES and --labels; name a file for one", USAGE)
    if html:
        report.require_matplotlib()
    stream = open_table(labels).expect("sites")
    sites = stream.table()
    truth = Truth(sites, regions, labels)
    windows = [report.parse_locus(locus, truth) for locus in loci]
    rows = open_rows(scores, truth, _base(base, config))
    evaluation = Evaluation(truth, rows.compared, peaks=bool(html))
    by_tissue = _by_tissue(truth, sites, stream, rows)
    with progress(None, "rows", "evaluating") as bar:
        for piece in rows:
            evaluation.add(piece)
            if by_tissue:
                by_tissue.add(piece)
            bar.update(len(piece.pos))
    if not evaluation.counts.scored:
        raise _nothing(evaluation, rows)
    if not any(evaluation.site_counts(i)["in_scope"] for i in (0, 1)):
        raise MetaError(f"no site in the scope, {labels}; widen --region or check the recipe", NOTHING_TO_SCORE)
    tissues = {"tissues": by_tissue.document(draws, seed) if by_tissue else None}
    metrics = _document(evaluation, rows, stream.provenance, labels, draws, seed, tissues)
    if html:
        _write(html, report.page(metrics, evaluation, windows))
    return metrics


def _base(base, config):
    """A prefix or file as given, or the one that ms.toml has under this name."""
    if base is None:
        return None
    from libmeta.config import load
    from libmeta.errors import USAGE, MetaError
    from libmeta.scored_rows import is_tracks

    if is_tracks(base) or base.endswith(".parquet"):
        return base
    known = load(config).base_scores
    if "prefix" not in known.get(base, {}):
        raise MetaError(
            f"no base scores {base!r}: neither {base}.donor.plus.bw nor [base_scores.{base}] in ms.toml, "
            f"--base; "
            "make them with ms-basescore",
            USAGE,
        )
    return str(known[base]["prefix"])


def _nothing(evaluation, rows):
    from libmeta.errors import DATA, NOTHING_TO_SCORE, MetaError

    where = f"{rows.name} and {evaluation.truth.where}"
    if rows.strangers and not rows.shared:
        theirs, ours = ", ".join(sorted(rows.strangers)[:3]), ", ".join(evaluation.truth.names[:3])
        return MetaError(
            f"no contig in common, {where} ({theirs} against {ours}); likely another genome or build", DATA
        )
    return MetaError(
        f"none of {evaluation.counts.rows:,} rows is in the scope of the labels, {where}; give scores and "
        f"labels of the "
        "same regions",
        NOTHING_TO_SCORE,
    )


def _by_tissue(truth, sites, stream, rows):
    """Of scores by tissue and sites by tissue; None where either has none."""
    from libmeta import site_tissues
    from libmeta.tissue_evaluation import TissueEvaluation

    names = stream.metadata.get("tissue_names")
    if not names or not rows.tissues:
        if rows.tissues:
            log.warning("the labels do not tell tissues apart: label with ms-labels --recipe m2e to evaluate by tissue")
        return None
    known = (rows.model or {}).get("tissues") or {}
    activity = dict(zip(known.get("names", ()), known.get("activity", ()), strict=True))
    tissues = site_tissues.of_table(sites, names, truth.where)
    return TissueEvaluation(truth, sites, tissues, rows.tissues, rows.compared, activity)


def _document(evaluation, rows, labels_chain, labels, draws, seed, more):
    from libmeta import schema
    from libmeta.cautions import cautions
    from libmeta.streams import step
    from libmeta.summary import document, rounded

    inputs = {"labels": labels, **rows.inputs}
    inputs = {name: path for name, path in inputs.items() if path != "-"}
    form = schema.load("metrics")
    return rounded(
        {
            "format": form.name,
            "version": form.version,
            "provenance": step("ms-eval", arguments(), inputs, (rows.provenance, labels_chain)),
            "model": rows.model,
            "warnings": cautions(evaluation, rows.model, (rows.provenance, labels_chain)),
            **document(evaluation, draws, seed),
            **more,
        }
    )


def _json(document):
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _write(path, text):
    from libmeta.streams import atomic

    if path == "-":
        sys.stdout.write(text)
        return
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
