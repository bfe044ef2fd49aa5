"""Small made-up transcripts, a genome that holds their splice sites, and writers of every annotation format."""

import gzip
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pysam
from conftest import random_sequence, write_fasta

from libmeta.genome import Genome

LENGTH = 20_000
ENSEMBL_PREFIX = {"ensembl": ("gene:", "transcript:"), "gencode": ("", ""), "ncbi": ("gene-", "rna-")}


@dataclass(frozen=True)
class Transcript:
    """exons: (start, end) pairs, 0-based half-open."""

    name: str
    gene: str
    strand: str
    exons: tuple
    chrom: str = "chr1"
    tags: tuple = field(default=())

    @property
    def introns(self) -> list[tuple[int, int]]:
        ordered = sorted(self.exons)
        return [(a[1], b[0]) for a, b in pairwise(ordered)]


def three_genes() -> list[Transcript]:
    """Two plus genes (one with a MANE and an alternative transcript) and a minus gene; 3, 2, 4 and 3 exons."""
    return [
        Transcript("T1", "G1", "+", ((100, 200), (300, 400), (600, 700)), tags=("basic", "MANE_Select")),
        Transcript("T2", "G1", "+", ((100, 200), (620, 700)), tags=("basic",)),
        Transcript("T3", "G2", "-", ((1000, 1100), (1200, 1350), (1500, 1520), (1800, 2000)), tags=("MANE_Select",)),
        Transcript("T4", "G2", "-", ((1000, 1100), (1210, 1350), (1800, 2000))),
    ]


def many_genes(n: int = 30) -> list[Transcript]:
    """n genes of three exons on either strand in turn: enough sites for a rate."""
    out = []
    for i in range(n):
        at, strand = 100 + 600 * i, "+-"[i % 2]
        exons = ((at, at + 60), (at + 160, at + 230), (at + 330, at + 400))
        out.append(Transcript(f"T{i}", f"G{i}", strand, exons, tags=("basic",)))
    return out


def mirror(transcripts: list[Transcript], length: int = LENGTH) -> list[Transcript]:
    """The same transcripts on the other strand of the reversed contig."""
    flip = {"+": "-", "-": "+"}
    return [
        replace(t, strand=flip[t.strand], exons=tuple((length - e, length - s) for s, e in t.exons))
        for t in transcripts
    ]


def oracle(transcripts: list[Transcript]) -> set[tuple]:
    """Sites by the rule of science.md, transcript by transcript in plain Python: (chrom, pos, strand, site)."""
    found = set()
    for t in transcripts:
        ordered = sorted(t.exons) if t.strand == "+" else sorted(t.exons, reverse=True)
        for i, (start, end) in enumerate(ordered):
            first_base, last_base = (start, end - 1) if t.strand == "+" else (end - 1, start)
            if i < len(ordered) - 1:
                found.add((t.chrom, last_base, t.strand, "donor"))
            if i > 0:
                found.add((t.chrom, first_base, t.strand, "acceptor"))
    return found


def plant(transcripts: list[Transcript], lengths: dict[str, int] | None = None, seed: int = 1) -> dict[str, str]:
    """Random sequences with GT..AG in every intron, on its strand."""
    lengths = lengths or {"chr1": LENGTH}
    contigs = {n: list(random_sequence(size, seed + i)) for i, (n, size) in enumerate(lengths.items())}
    for t in transcripts:
        for start, end in t.introns:
            left, right = ("GT", "AG") if t.strand == "+" else ("CT", "AC")
            contigs[t.chrom][start : start + 2], contigs[t.chrom][end - 2 : end] = left, right
    return {n: "".join(s) for n, s in contigs.items()}


def genome_of(folder: Path, transcripts: list[Transcript], name: str = "genome.fa", **more) -> Genome:
    return Genome(write_fasta(folder / name, plant(transcripts, **more)))


# ---- writers --------------------------------------------------------------------------------------------------------


def gtf(transcripts: list[Transcript], dialect: str = "gencode", rename=lambda c: c) -> str:
    lines = ["##description: made up"]
    for t in transcripts:
        names = f'gene_id "{t.gene}"; transcript_id "{t.name}"; gene_name "N{t.gene}";'
        tags = "".join(f' tag "{_tag(g, dialect)}";' for g in t.tags)
        start, end = min(s for s, _ in t.exons) + 1, max(e for _, e in t.exons)
        lines.append(f"{rename(t.chrom)}\tx\ttranscript\t{start}\t{end}\t.\t{t.strand}\t.\t{names}{tags}")
        for s, e in t.exons:
            lines.append(f"{rename(t.chrom)}\tx\texon\t{s + 1}\t{e}\t.\t{t.strand}\t.\t{names}{tags}")
            lines.append(f"{rename(t.chrom)}\tx\tCDS\t{s + 1}\t{e}\t.\t{t.strand}\t0\t{names}")
    return "\n".join(lines) + "\n"


def gff3(transcripts: list[Transcript], dialect: str = "ensembl", rename=lambda c: c) -> str:
    gene_prefix, transcript_prefix = ENSEMBL_PREFIX[dialect]
    lines, genes = ["##gff-version 3"], set()
    for t in transcripts:
        start, end = min(s for s, _ in t.exons) + 1, max(e for _, e in t.exons)
        place = f"{rename(t.chrom)}\tx\t{{}}\t{{}}\t{{}}\t.\t{t.strand}\t.\t"
        gene, transcript = gene_prefix + t.gene, transcript_prefix + t.name
        named = f"gene_id={t.gene};" if dialect != "ncbi" else ""
        if t.gene not in genes:
            genes.add(t.gene)
            lines.append(place.format("gene", start, end) + f"ID={gene};Name=N{t.gene};{named}")
        kind = {"ensembl": "lnc_RNA", "gencode": "transcript", "ncbi": "mRNA"}[dialect]
        tags = ",".join(_tag(g, dialect) for g in t.tags)
        extra = f"transcript_id={t.name}" + (f";tag={tags}" if tags else "")
        lines.append(place.format(kind, start, end) + f"ID={transcript};Parent={gene};{extra}")
        for s, e in t.exons:
            lines.append(place.format("exon", s + 1, e) + f"Parent={transcript}")
    return "\n".join(lines) + "\n"


def _tag(tag: str, dialect: str) -> str:
    return tag.replace("_", " ") if dialect == "ncbi" else tag


def gene_table(transcripts: list[Transcript], rename=lambda c: c.removeprefix("chr")) -> str:
    lines = ["#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END"]
    for t in transcripts:
        exons = sorted(t.exons)
        starts, ends = ("".join(f"{e[i]}," for e in exons) for i in (0, 1))
        lines.append(f"{t.name}\t{rename(t.chrom)}\t{t.strand}\t{exons[0][0]}\t{exons[-1][1]}\t{starts}\t{ends}")
    return "\n".join(lines) + "\n"


def write(path: Path, text: str, pack: str = "plain") -> Path:
    if pack == "plain":
        path.write_text(text)
    elif pack == "gzip":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        with pysam.BGZFile(str(path), "wb") as handle:
            handle.write(text.encode())
    return path


def keys_as_set(keys: np.ndarray, genome_names: list[str]) -> set[tuple]:
    """Site keys as (chrom, pos, strand, site)."""
    from libmeta.introns import SITE_NAMES, unpack

    columns = (c.tolist() for c in unpack(keys))
    return {(genome_names[c], p, "+" if s > 0 else "-", SITE_NAMES[k]) for c, p, s, k in zip(*columns, strict=True)}
