"""ms-labels: annotation tiers, junctions and PSI -> splice sites with their evidence and, on request, labels."""

from libmeta import cli
from libmeta.cli import Choice, FloatRange, IntRange, argument, option, tool


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
@option("--recipe", type=Choice(["m1", "m2", "m3"]),
        help="Fill label and weight: m1 canonical, m2 all annotated, m3 novel.")  # fmt: skip
@option(
    "--reference",
    metavar="TIER[,TIER]",
    help="m3: tiers that count as known, by name or number [default: all].",
)
@option("--min-support", type=IntRange(1), default=3, show_default=True, help="Reads that support a site.")
@option("--min-psi", type=FloatRange(0, 1), default=0.05, show_default=True, help="m3: PSI that supports a site.")
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
@cli.output
@option("-O", "--output-format", type=Choice(["table", "bed"]), help="[default: bed for *.bed, else table]")
def main(annotations, tiers, genome, config, junctions, psi, recipe, reference, min_support, min_psi, min_dinucleotide,
         regions, bed, genes_only, genes_bed, output, output_format):  # fmt: skip
    from libmeta import beds, label_sources, schema, site_report, streams
    from libmeta import config as configuration
    from libmeta import sites as site_tables
    from libmeta.genome import Genome

    bed_wanted = output_format == "bed" or (output_format is None and output.endswith(".bed"))
    if not bed_wanted:
        cli.refuse_terminal(output)
    settings = configuration.load(config)
    sources = label_sources.gather(settings, annotations, tiers, junctions, psi, recipe)
    known = label_sources.reference(reference, recipe, sources.tiers)
    fasta = Genome(settings.genome(genome))
    found = site_tables.build(
        fasta, sources.tiers, sources.junctions, sources.psi, label_sources.regions(regions, bed, fasta.contigs),
        set(genes_only.split(",")) if genes_only else None, min_support, min_dinucleotide,
    )  # fmt: skip
    found = label_sources.label(found, recipe, known, min_support, min_psi)
    site_report.tell(found, recipe)
    chain = streams.step("ms-labels", cli.arguments(), sources.inputs(fasta.path, bed))
    if genes_bed:
        beds.write_bed(genes_bed, site_report.gene_rows(found.genes), chain)
    if bed_wanted:
        beds.write_bed(output, site_report.site_rows(found.table), chain)
        return
    form = schema.load("sites")
    spans = [g.row for g in found.genes]
    rule = {"reference": list(known), "min_support": min_support, "min_psi": min_psi} if recipe == "m3" else {}
    meta = streams.metadata(form.name, form.version, chain, genes=spans, tiers=found.tiers, recipe=recipe, rule=rule)
    with streams.Writer(output, form.arrow.with_metadata(meta)) as writer:
        for piece in site_report.by_contig(found.table):
            writer.write(piece)


if __name__ == "__main__":
    main()
