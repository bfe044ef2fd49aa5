"""One run of ms-delta: sources opened, records read in chunks, judged, scored, counted."""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from libmeta.config import Config
from libmeta.contigs import guess_build, plain_name
from libmeta.delta import Allele, Deltas, MismatchGuard
from libmeta.delta_output import SCORED, TableOutput, VcfOutput
from libmeta.errors import NOTHING_TO_SCORE, USAGE, MetaError
from libmeta.gene_index import GeneIndex
from libmeta.genome import Genome
from libmeta.vcf import Broken, Reader, Record

log = logging.getLogger("libmeta")

_TOLD = 10  # broken records told one by one


def genes_of(
    given: str | None, config: Config, genome: Genome, only: set[str] | None
) -> tuple[GeneIndex | None, dict[str, Path]]:
    """(genes or None, files read): of --genes, else of ms.toml. only: contigs to read."""
    if given == "none":
        return None, {}
    tiers = [{"name": "genes", "gtf": Path(given), "tag": None}] if given else config.annotation_tiers
    if not tiers:
        raise MetaError(
            "no annotation, neither --genes nor [annotation] tiers in ms.toml; name one, or --genes none", USAGE
        )
    return GeneIndex(genome, tiers, only), {f"annotation.{t['name']}": t["gtf"] for t in tiers}


def open_models(
    base: str,
    meta: str | None,
    config: Config,
    genome: Genome,
    *,
    without: tuple[str, ...],
    weights: tuple[str, ...],
    count: int | None,
    engine: str,
    threads: int | None,
    only: tuple[str, ...],
) -> tuple[object, object | None, dict]:
    """(scorer of a base model, MetaScorer or None, about) as the command line names them; about["files"] were read.

    base: a base model; meta: a file of a sequence model, which brings its own. only: regions, which limit what is read.
    """  # fmt: skip
    if meta is None:
        if without:
            raise MetaError("nothing to leave out, --without; it goes with -m MODEL", USAGE)
        scorer, about = scorer_of(base, genome, weights_of(weights, [base]).get(base), count, engine, threads)
        return scorer, None, about
    if count is not None:
        raise MetaError("the model says how many networks its base models have, --models; leave it out", USAGE)
    from libmeta.delta_models import open_meta  # loads torch

    scorer, about = open_meta(
        meta, base, config, genome, without=without, weights=weights, engine=engine, threads=threads, only=only
    )
    return scorer.primary, scorer, about


def weights_of(given: tuple[str, ...], names: list[str]) -> dict[str, str]:
    """{base model: folder} of --weights: one FOLDER for the only (or first) base model, or NAME=FOLDER for each."""
    found = {}
    for text in given:
        name, is_named, folder = text.partition("=")
        if is_named and name in names:
            found[name] = folder
        elif names[0] in found:
            raise MetaError(
                f"two folders of weights, --weights {text}; write NAME=FOLDER, NAME one of {', '.join(names)}", USAGE
            )
        else:
            found[names[0]] = text
    return found


def scorer_of(name: str, genome: Genome, weights, count, engine: str, threads: int | None) -> tuple[object, dict]:
    """(scorer of libmeta.variant_windows, about): the base model ready to score; about["files"] are its weights.

    engine: auto, fft or torch recompute cones; reference runs both sequences through the plain network in full.
    """
    from libmeta import basemodels, engines
    from libmeta.cone import VariantScorer
    from libmeta.variant_windows import ConeScorer, PlainScorer

    adapter = basemodels.get(name)
    paths = adapter.find(weights)
    if count is not None and not 1 <= count <= len(paths):
        raise MetaError(f"the ensemble has {len(paths)} networks, not {count}; ask for 1 to {len(paths)}", USAGE)
    paths = paths[:count]
    nets = adapter.read(paths)
    if engine == "reference":
        scorer = PlainScorer(engines.build(nets, engine, "cpu", threads), genome)
    else:
        scorer = ConeScorer(VariantScorer(nets, engine, threads), genome)
    log.info("%s, %d networks, %s", name, len(nets), scorer.name)
    model = {
        "name": adapter.NAME, "sha256": basemodels.digest(paths), "networks": len(nets), "context": scorer.context,
        "engine": scorer.name, "licence": adapter.LICENCE, "trained_on": list(adapter.TRAINED_ON),
    }  # fmt: skip
    return scorer, {"model": model, "files": {p.name: p for p in paths}}


def check_options(deltas: Deltas, reader: Reader, masked: bool, index: bool) -> None:
    """What cannot work together; and contigs whose lengths, in the variants' own header, say another build."""
    if masked and deltas.genes is None:
        raise MetaError("nothing to mask by without an annotation, --masked with --genes none; name one", USAGE)
    if deltas.like_spliceai and deltas.genes is None:
        raise MetaError("no gene ends without an annotation, --like-spliceai with --genes none; name one", USAGE)
    if deltas.like_spliceai and deltas.meta is not None:
        raise MetaError(
            "a sequence model knows no N outside genes, --like-spliceai with -m; leave one of them out", USAGE
        )
    # the mitochondrion of UCSC's hg19 has another length than everybody else's
    told = {n: None if plain_name(n) == "M" else length for n, length in reader.contigs.items()}
    if told:
        deltas.genome.contigs.match(told, reader.where)


class Job:
    """Reads chunks of `size` records, judges and scores them: iterate for (records, their alleles).

    strict: a broken record is an error, else it is told and left out. in_order: so is an unsorted one.
    """

    def __init__(self, reader: Reader, deltas: Deltas, size: int, strict: bool, in_order: bool):
        self.reader, self.deltas, self.size, self.strict, self.in_order = reader, deltas, size, strict, in_order
        lengths = {n: length for n, length in reader.contigs.items() if length is not None}
        self.guard = MismatchGuard(deltas.genome.contigs, guess_build(lengths), reader.where)
        self.records = self.broken = 0
        self.counts: Counter[str] = Counter()
        self._last: tuple[str, int] | None = None
        self._finished: set[str] = set()
        self._source = self._good()
        self._ahead = list(islice(self._source, size))

    @property
    def contig_names(self) -> list[str]:
        """Names that the first records use."""
        return list(dict.fromkeys(r.chrom for r in self._ahead))

    def __iter__(self) -> Iterator[tuple[list[Record], list[list[Allele]]]]:
        while self._ahead:
            records = self._ahead
            found = [self.deltas.judge(r.chrom, r.pos, r.ref, r.alts) for r in records]
            flat = [a for alleles in found for a in alleles]
            self.guard.add(flat)
            self.deltas.score(flat)
            self.counts.update(a.reason or SCORED for a in flat)
            self.records += len(records)
            yield records, found
            self._ahead = list(islice(self._source, self.size))

    def _good(self) -> Iterator[Record]:
        for item in self.reader:
            if isinstance(item, Broken):
                self._tell_broken(item)
                continue
            if self.in_order:
                self._check_order(item)
            yield item

    def _tell_broken(self, item: Broken) -> None:
        what = f"broken record ({item.what}), {self.reader.where} line {item.number}"
        if self.strict:
            raise MetaError(f"{what}; mend or remove it, or leave out --strict")
        self.broken += 1
        if self.broken <= _TOLD:
            log.warning("warning: %s; left out", what)

    def _check_order(self, record: Record) -> None:
        last = self._last
        if record.chrom in self._finished or (last and last[0] == record.chrom and record.pos < last[1]):
            raise MetaError(
                f"not sorted, {self.reader.where} line {record.number}; sort it (bcftools sort), or leave out --write-index"
            )
        if last and last[0] != record.chrom:
            self._finished.add(last[0])
        self._last = (record.chrom, record.pos)

    def tell(self, seconds: float) -> None:
        """Sum up on stderr. Raises NOTHING_TO_SCORE where no allele has scores."""
        total, scored = sum(self.counts.values()), self.counts[SCORED]
        why = ", ".join(f"{n:,} {k}" for k, n in sorted(self.counts.items()) if k != SCORED)
        left = f"; {self.broken:,} broken records left out" if self.broken else ""
        log.info(
            "%s records, %s alleles: %s scored%s%s; %.0f s, %.1f alleles/s", f"{self.records:,}", f"{total:,}",
            f"{scored:,}", f", {why}" if why else "", left, seconds, scored / max(seconds, 1e-9),
        )  # fmt: skip
        if self.deltas.earlier is not None:
            log.info("%s rows were taken from %s", f"{self.deltas.earlier.taken:,}", self.deltas.earlier.path)
        if self.guard.wrong:
            log.warning(
                "warning: REF is not what the genome has at %s of %s alleles (%.1f%%)%s",
                f"{self.guard.wrong:,}", f"{self.guard.compared:,}", 100 * self.guard.rate,
                f"; {self.guard.advice()}" if self.guard.wrong == self.guard.compared else "",
            )  # fmt: skip
        if not scored:
            raise MetaError(
                f"nothing could be scored of {self.records:,} records ({why or 'none'}{left}), {self.reader.where}; "
                + ("see INFO/MS_STATUS" if self.records else "give records with CHROM, POS, REF and ALT"),
                NOTHING_TO_SCORE,
            )


def output(job: Job, target: str, kind: str, chain: list[dict], about: dict, *, name, masked, profiles, index):
    """The writer for what was asked: INFO of records, or a table."""
    deltas, annotated = job.deltas, job.deltas.genes is not None
    if kind in "vzbu":
        model = about["model"]
        text = f"{model['name']} ({model['networks']} networks), distance {deltas.distance}"
        texts = {"base": text + (", like SpliceAI's command" if deltas.like_spliceai else "")}
        if deltas.meta:
            texts["meta"] = (
                f"{about['meta']['recipe']} (on {', '.join(about['meta']['base'])}), distance {deltas.distance}"
            )
        return VcfOutput(
            target, kind, job.reader, name, masked, annotated, texts, deltas.genome.contigs, job.contig_names, chain,
            index,
        )  # fmt: skip
    if index:
        raise MetaError("only VCF and BCF have an index, --write-index; leave it out", USAGE)
    return TableOutput(target, kind, profiles, deltas.meta is not None, {**about, **settings(deltas)}, chain)


def settings(deltas: Deltas) -> dict:
    """What a table says of how it was made."""
    annotated = deltas.genes is not None
    return {"distance": deltas.distance, "like_spliceai": deltas.like_spliceai, "annotated": annotated}
