"""ms-labels: annotation tiers, junctions and PSI -> splice sites with their evidence and, on request, labels."""

import logging

from libmeta import cli
from libmeta.cli import Choice, FloatRange, IntRange, argument, option, tool

log = logging.getLogger("libmeta")


@tool(
    "Splice sites of an annotation, with tiers, junction and PSI evidence, and labels of a recipe.\n\n"
    "ANNOTATION: GTF, GFF3 or SpliceAI gene tables, plain or gzip, the most trusted first: the first that has a site "
    "gives its tier. Without any, tiers, junctions and PSI come from ms.toml.",
    epilog="Example: ms-labels --genome hg38.fa --tier MANE=gencode.gtf.gz:MANE_Select --tier all=gencode.gtf.gz "
    "--junctions liver=liver.SJ.out.tab --recipe m3 --reference MANE -o sites.parquet",
)
@argument("annotations", nargs=-1, metavar="[ANNOTATION]...")
@option(
    "--tier",
    "tiers",
    multiple=True,
    metavar="NAME=FILE[:TAG]",
    help="A tier: a file, or its transcripts with a tag.",
)
@cli.genome
@cli.config
@option("--junctions", multiple=True, metavar="[TISSUE=]FILE",
        help="STAR SJ.out.tab, regtools BED12, leafcutter BED6, GTEx GCT, TSV, or a junctions table.")  # fmt: skip
@option("--psi", metavar="FILE", help="Exon x tissue PSI table, CSV or TSV, coordinates 1-based.")
@option("--recipe", type=Choice(["m1", "m2", "m2a", "m2b", "m2c", "m2d", "m2e", "m3"]),
        help="Fill label and weight: m1 canonical; m2 all annotated; m2c, m2d the same, weighed by tier or by evidence; m2e "
        "by tissue; m3 novel; to evaluate on: m2a, m2b sites of tier 1, or of all tiers, that are not canonical.")  # fmt: skip
@option(
    "--reference",
    metavar="TIER[,TIER]",
    help="m3: tiers that count as known, by name or number [default: all].",
)
@option("--minus", metavar="TIER[,TIER]", help="m2a, m2b: tiers whose sites are taken away [default: tier 0].")
@option("--others", type=Choice(["masked", "negative"]),
        help="m2a, m2b: what the sites are that are not positive [default: masked].")  # fmt: skip
@option("--tier-weights", metavar="W,W,W", help="m2c: weight of each tier, in order or NAME=W [default: 1,0.85,0.65].")
@option(
    "--hide", type=FloatRange(0, 1), metavar="SHARE", help="Label this share of the positive sites neither, by chance."
)
@option("--hidden", metavar="FILE", help="Also write the sites with the hidden ones positive and all others masked.")
@option("--min-support", type=IntRange(1), default=3, show_default=True, help="Reads that support a site.")
@option("--min-psi", type=FloatRange(0, 1), default=0.05, show_default=True, help="m3: PSI that supports a site.")
@option("--cover", type=FloatRange(0, 1), default=0.0, show_default=True,
        help="m2e: a tissue tells of a gene where so many of its exons have PSI > 0; 0: one is enough.")  # fmt: skip
@option("--min-dinucleotide", type=FloatRange(0, 1), default=0.95, show_default=True,
        help="Stop where fewer sites of a strand have a splice dinucleotide.")  # fmt: skip
@option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="chr1, chr1:100-200 or chr1:100-200:+, 1-based.",
)
@option("--bed", metavar="FILE", help="Regions as BED.")
@option("--genes-only", metavar="NAME[,NAME]", help="Only these genes, by id or name.")
@option("--genes-bed", metavar="FILE", help="Also write the genes looked at as BED6 (m3: those measured).")
@cli.seed
@cli.output
@option("-O", "--output-format", type=Choice(["table", "bed"]), help="[default: bed for *.bed, else table]")
def main(annotations, tiers, genome, config, junctions, psi, recipe, hide, hidden, min_support, min_psi, cover,
         min_dinucleotide, regions, bed, genes_only, genes_bed, seed, output, output_format, **rule):  # fmt: skip
    from libmeta import beds, hiding, label_sources, site_report, streams
    from libmeta import config as configuration
    from libmeta import sites as site_tables
    from libmeta.genome import Genome

    bed_wanted = output_format == "bed" or (output_format is None and output.endswith(".bed"))
    if not bed_wanted:
        cli.refuse_terminal(output)
    settings = configuration.load(config)
    sources = label_sources.gather(settings, annotations, tiers, junctions, psi, recipe)
    names = [t["name"] for t in sources.tiers]
    settings_of = label_sources.settings(rule, recipe, names)
    if recipe == "m3":
        known = label_sources.reference(rule["reference"], names)
        settings_of = {"reference": known, "min_support": min_support, "min_psi": min_psi}
    _check_hiding(recipe, hide, hidden)
    fasta = Genome(settings.genome(genome))
    found = site_tables.build(
        fasta, sources.tiers, sources.junctions, sources.psi, label_sources.regions(regions, bed, fasta.contigs),
        set(genes_only.split(",")) if genes_only else None, min_support, min_dinucleotide,
        cover=cover if recipe == "m2e" else None,
    )  # fmt: skip
    found = label_sources.label(found, recipe, settings_of)
    if recipe == "m2e":
        settings_of |= {"min_support": min_support, "cover": cover}
    if hide is not None:
        found, unseen, count = hiding.hide(found, hide, seed)
        settings_of |= {"hide": hide, "seed": seed}
    site_report.tell(found, recipe)
    if hide is not None:
        log.info("%s positive sites hidden", f"{count:,}")
    chain = streams.step("ms-labels", cli.arguments(), sources.inputs(fasta.path, bed))
    if genes_bed:
        beds.write_bed(genes_bed, site_report.gene_rows(found.genes), chain)
    if bed_wanted:
        beds.write_bed(output, site_report.site_rows(found.table), chain)
        return
    for path, sites in ((output, found), *([(hidden, unseen)] if hidden else [])):
        _write(path, sites, chain, recipe, settings_of)


def _check_hiding(recipe, hide, hidden):
    from libmeta import labels
    from libmeta.errors import USAGE, MetaError

    if hidden and hide is None:
        raise MetaError("--hidden without --hide, command line; say which share to hide", USAGE)
    if hide is not None and (recipe in (None, "m2e") or recipe in labels.EVALUATION):
        raise MetaError("--hide is for labels to train on, command line; add --recipe m1, m2, m2c, m2d or m3", USAGE)


def _write(path, sites, chain, recipe, rule):
    from libmeta import schema, site_report, streams

    form, spans = schema.load("sites"), [g.row for g in sites.genes]
    more = {"tissue_names": sites.tissues.names} if sites.tissues else {}
    meta = streams.metadata(
        form.name, form.version, chain, genes=spans, tiers=sites.tiers, recipe=recipe, rule=rule, **more
    )
    table = site_report.with_tissues(sites)
    with streams.Writer(path, table.schema.with_metadata(meta)) as writer:
        for piece in site_report.by_contig(table):
            writer.write(piece)


if __name__ == "__main__":
    main()
