"""ms-delta: variants -> what they do to splice sites."""

import logging
import time

from libmeta.cli import (
    Choice,
    IntRange,
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
    "Delta scores of VARIANTS (VCF or BCF; - is standard input): acceptor and donor gain and loss, raw and masked.\n\n"
    "Every record comes out, in order, its other fields untouched: with scores in INFO, or with the reason why an ALT "
    "has none in INFO/MS_STATUS. -o FILE.vcf, .vcf.gz, .bcf, .parquet, .arrow or .tsv; - is VCF. Genes and annotated "
    "sites come from all tiers of [annotation] in ms.toml, or from --genes.",
    epilog="Example: ms-delta in.vcf.gz --genome hg38.fa --genes gencode.gtf.gz | bcftools view -i 'MS_DS>=0.2'",
)
@argument("variants", default="-")
@option("--model", default="spliceai", show_default=True, help="Base model: spliceai or openspliceai.")
@option("--weights", multiple=True, metavar="[NAME=]FOLDER",
        help="Its weights [default: installed, $MS_SPLICEAI_WEIGHTS, ./weights/NAME]; with -m, of base model NAME.")  # fmt: skip
@option("-m", "--meta", metavar="FILE", help="Also refined: a sequence model of ms-train, beside its base model.")
@option("--without", multiple=True, metavar="MODALITY", help="With -m: although its source is lacking; repeatable.")
@option("--models", "count", type=int, metavar="N", help="Use the first N networks of the ensemble [default: all].")
@option("--genes", metavar="FILE", help="GTF, GFF3 or SpliceAI gene table in place of ms.toml's; none: no annotation.")
@option("-D", "--distance", type=IntRange(1, 5000), default=500, show_default=True,
        help="Bases searched on either side of the allele.")  # fmt: skip
@option("--like-spliceai", is_flag=True,
        help="N outside the gene, indels not moved left, inserted bases folded into the base before them.")  # fmt: skip
@option("--masked", is_flag=True, help="Masked scores in the SpliceAI-shaped string; the other fields have both.")
@option("--info-name", default="SpliceAI", show_default=True, metavar="NAME", help="INFO key of that string.")
@option("--profiles", is_flag=True, help="Tables: also REF and ALT scores of every base of the window.")
@option("--lookup", metavar="PARQUET", help="Results of an earlier ms-delta: what it has is not computed again.")
@option("--saturate", metavar="REGION", help="In place of VARIANTS: every SNV of chr1:1,000-2,000 (1 Mb at the most).")
@option("--indels", type=IntRange(0, 20), metavar="N", default=0,
        help="--saturate: also every deletion of 1 to N bases and insertion of one base.")  # fmt: skip
@option("--picture", metavar="FILE", help="--saturate: heat map of the strongest effects, .png, .svg or .pdf.")
@option("--html", metavar="FILE", help="Also a page for the eye: variants by effect, pictures of the largest.")
@option("--html-top", type=IntRange(0, 1000), default=50, show_default=True, metavar="N", help="Pictures on it.")
@option("--region", "only", multiple=True, metavar="REGION", help="Score only here: chr1 or chr1:100-200; repeatable.")
@option("--max-length", type=IntRange(1), default=10000, show_default=True, help="Longest REF or ALT that is scored.")
@option("--strict", is_flag=True, help="Stop at a broken record instead of leaving it out.")
@option("-O", "--output-format", "asked", type=Choice(["v", "z", "b", "u", "tsv", "parquet", "arrow"]),
        help="VCF, bgzipped VCF, BCF, uncompressed BCF, or a table [default: by the ending].")  # fmt: skip
@option("--write-index", is_flag=True, help="Also write FILE.csi.")
@option("--engine", default="auto", show_default=True, type=Choice(["auto", "fft", "torch", "reference"]),
        help="fft, torch: what a variant can change is recomputed; reference: both sequences in full.")  # fmt: skip
@option("--batch-size", type=IntRange(1), default=256, show_default=True, help="Records scored together.")
@genome
@config
@output
@threads
def main(variants, model, weights, meta, without, count, genes, distance, like_spliceai, masked, info_name, profiles,
         lookup, saturate, indels, picture, html, html_top, only, max_length, strict, asked, write_index, engine,
         batch_size, genome, config, output, threads):  # fmt: skip
    from libmeta import config as settings
    from libmeta import delta_run, delta_views, saturation, streams, vcf
    from libmeta.delta import Deltas
    from libmeta.genome import Genome
    from libmeta.regions import parse_region

    kind = vcf.output_kind(output, asked)
    if kind not in ("v", "tsv"):
        refuse_terminal(output)
    delta_views.check(saturate, variants, indels, picture, html)
    sources = settings.load(config)
    fasta = Genome(sources.genome(genome))
    with saturation.read(saturate, fasta, indels) if saturate else vcf.Reader(variants) as reader:
        regions = [parse_region(text, fasta.contigs) for text in only]
        contigs = {reader.region.chrom} if saturate else {r.chrom for r in regions} or None
        known, files = delta_run.genes_of(genes, sources, fasta, contigs)
        scorer, refined, about = delta_run.open_models(
            model, meta, sources, fasta, without=without, weights=weights, count=count, engine=engine, threads=threads,
            only=only,
        )  # fmt: skip
        deltas = Deltas(fasta, scorer, known, distance, max_length, regions, like_spliceai, refined)
        delta_run.check_options(deltas, reader, masked, write_index)
        files = {"genome": fasta.path, **files, **about.pop("files")}
        if variants != "-":
            files["variants"] = variants
        if lookup:
            files["lookup"] = lookup
        chain = streams.step("ms-delta", arguments(), files, about.pop("upstream", ()))
        if lookup:
            from libmeta.delta_lookup import Lookup

            along = profiles or bool(html and html_top)
            deltas.earlier = Lookup(lookup, {**about, **delta_run.settings(deltas)}, chain[-1], along)
            chain[-1:-1] = [s for s in deltas.earlier.provenance if s not in chain]
        size = max(batch_size, saturation.CHUNK) if saturate else batch_size
        job = delta_run.Job(reader, deltas, size, strict, write_index)
        views = delta_views.Views(reader, deltas, picture, html, html_top, masked)
        started = time.monotonic()
        with (
            delta_run.output(
                job, output, kind, chain, about, name=info_name, masked=masked, profiles=profiles, index=write_index
            ) as out,
            progress(reader.total if saturate else None, "alleles", "variants") as bar,
        ):
            for records, scored in job:
                out.write(records, scored, job.records - len(records))
                views.add(records, scored)
                bar.update(sum(map(len, scored)))
    views.write(job, about, chain)
    job.tell(time.monotonic() - started)


if __name__ == "__main__":
    main()
