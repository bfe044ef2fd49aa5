"""Lines of GTF, GFF3 and SpliceAI gene tables -> exons with their transcripts.

Each reader takes the numbered lines of one file and fills a Builder. Coordinates turn 0-based half-open here.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from libmeta.contigs import Contigs
from libmeta.errors import MetaError

Lines = Iterator[tuple[int, bytes]]
_STRANDS = {b"+": 1, b"-": -1, b".": 0, b"?": 0}
# features of GFF3 that are neither exon nor an ancestor of one; skipping them early keeps the feature table small
_NEVER_PARENTS = frozenset(
    b"CDS start_codon stop_codon five_prime_UTR three_prime_UTR UTR intron region chromosome scaffold contig "
    b"supercontig biological_region match cDNA_match EST_match protein_match match_part sequence_feature enhancer "
    b"silencer promoter stop_codon_redefined_as_selenocysteine repeat_region".split()
)


@dataclass
class Builder:
    """Collects transcripts and exons of one file.

    transcripts: key -> index; the parallel lists hold contig name as in the file, strand (+1/-1), display names, tags.
    exon_*: transcript index, start, end (0-based half-open).
    skip: contigs that are known but not asked for are passed over; those outside the genome are counted in `dropped`.
    """

    contigs: Contigs
    where: str
    only: frozenset[str] | None = None
    index: dict[str, int] = field(default_factory=dict)
    chrom: list[int] = field(default_factory=list)
    strand: list[int] = field(default_factory=list)
    exon_transcript: array = field(default_factory=lambda: array("i"))
    exon_start: array = field(default_factory=lambda: array("q"))
    exon_end: array = field(default_factory=lambda: array("q"))
    seen: dict[bytes, int] = field(default_factory=dict)
    dropped: Counter = field(default_factory=Counter)
    unstranded: int = 0

    def __post_init__(self):
        self.names = list(self.contigs.lengths)

    def contig(self, name: bytes) -> int:
        """Index of a contig in the genome, -1 not in the genome, -2 not asked for."""
        text = name.decode("utf-8", "replace")
        ours = self.contigs.resolve(text)
        index = -1 if ours is None else self.contigs.order[ours]
        if ours is not None and self.only is not None and ours not in self.only:
            index = -2
        self.seen[name] = index
        return index

    def exon(self, number: int, key: str, chrom: int, start: int, end: int, strand: int) -> None:
        """Add an exon [start, end) of transcript `key`; checks coordinates, and contig and strand of its siblings."""
        if start >= end or start < 0:
            what = "starts after it ends" if start >= end else "starts before the first base"
            raise MetaError(f"exon {start + 1}-{end} {what}, {self.where} line {number}; mend or remove the line")
        length = self.contigs.lengths[self.names[chrom]]
        if end > length:
            raise MetaError(
                f"exon ends at {end:,}, past {self.names[chrom]} ({length:,} bp), {self.where} line {number}; likely "
                f"another build than {self.contigs.build or self.contigs.source}: use files of one build"
            )
        at = self.index.get(key)
        if at is None:
            at = self.index[key] = len(self.chrom)
            self.chrom.append(chrom)
            self.strand.append(strand)
        elif self.chrom[at] != chrom or self.strand[at] != strand:
            what = "contigs" if self.chrom[at] != chrom else "strands"
            raise MetaError(
                f"transcript {key} has exons on two {what}, {self.where} line {number}; give each copy its own "
                "transcript_id, or remove it"
            )
        self.exon_transcript.append(at)
        self.exon_start.append(start)
        self.exon_end.append(end)

    def malformed(self, number: int, what: str) -> MetaError:
        return MetaError(f"{what}, {self.where} line {number}; mend or remove the line")


@dataclass
class Names:
    """Display names of a transcript: its id, its genes [(gene id, gene name), ...] and its tags (spaces as _)."""

    transcript: str
    genes: list[tuple[str, str]]
    tags: frozenset[str] = frozenset()


def tag_name(tag: str) -> str:
    """Tags of all dialects alike: "MANE Select" (NCBI) is MANE_Select."""
    return tag.strip().replace(" ", "_")


def fields_of(builder: Builder, lines: Lines) -> Iterator[tuple[int, int, list[bytes]]]:
    """(line number, contig index, 9 columns) of the lines on contigs that are wanted; others are dropped early."""
    seen, dropped = builder.seen, builder.dropped
    for number, line in lines:
        if line[:1] in b"#\n\r":
            if line[:7] == b"##FASTA":
                return
            continue
        name = line[: line.find(b"\t")]
        chrom = seen.get(name)
        if chrom is None:
            if b"\t" not in line:
                raise builder.malformed(number, "not 9 tab-separated columns")
            chrom = builder.contig(name)
        if chrom < 0:
            if chrom == -1:
                dropped[name] += 1
            continue
        columns = line.rstrip(b"\r\n").split(b"\t", 8)
        if len(columns) != 9:
            raise builder.malformed(number, f"{len(columns)} tab-separated columns where GTF and GFF3 have 9")
        yield number, chrom, columns


def _place(builder: Builder, number: int, columns: list[bytes]) -> tuple[int, int, int]:
    """start (0-based), end, strand (0 for none) of a line."""
    try:
        start, end = int(columns[3]) - 1, int(columns[4])
    except ValueError as error:
        raise builder.malformed(number, "start and end are not integers") from error
    strand = _STRANDS.get(columns[6])
    if strand is None:
        raise builder.malformed(number, f"strand {columns[6].decode('utf-8', 'replace')!r} is not + or -")
    return start, end, strand


# ---- GTF ------------------------------------------------------------------------------------------------------------


def _gtf_attribute(name: bytes) -> Callable[[bytes], re.Match | None]:
    return re.compile(rb"(?:^|[;\s])" + name + rb'[ =]+(?:"([^"]*)"|([^";\s]+))').search


_GTF_TRANSCRIPT = _gtf_attribute(rb"transcript_id")
_GTF_GENE = _gtf_attribute(rb"gene_id")
_GTF_GENE_NAME = _gtf_attribute(rb"gene(?:_name)?")
_GTF_TAGS = re.compile(rb'(?:^|[;\s])tag[ =]+(?:"([^"]*)"|([^";\s]+))').findall


def _value(match: re.Match | None) -> str:
    return (match[1] or match[2] or b"").decode("utf-8", "replace") if match else ""


def read_gtf(builder: Builder, lines: Lines) -> dict[str, Names]:
    """GTF of GENCODE, Ensembl or NCBI. Tags and names come from the exon and the transcript lines."""
    found: dict[str, Names] = {}
    for number, chrom, columns in fields_of(builder, lines):
        feature = columns[2]
        if feature != b"exon" and feature not in (b"transcript", b"mRNA"):
            continue
        attributes = columns[8]
        key = _value(_GTF_TRANSCRIPT(attributes))
        if feature == b"exon":
            if not key:
                raise builder.malformed(number, "exon without transcript_id")
            start, end, strand = _place(builder, number, columns)
            if not strand:
                builder.unstranded += 1
                continue
            known = key in builder.index
            builder.exon(number, key, chrom, start, end, strand)
            if known:
                continue
        elif not key:
            continue
        tags = frozenset(tag_name((a or b).decode("utf-8", "replace")) for a, b in _GTF_TAGS(attributes))
        if key in found:
            found[key].tags |= tags
            continue
        gene = _value(_GTF_GENE(attributes)) or key
        found[key] = Names(key, [(gene, _value(_GTF_GENE_NAME(attributes)) or gene)], tags)
    return found


# ---- GFF3 -----------------------------------------------------------------------------------------------------------


_GFF3_PREFIX = re.compile(r"^(?:transcript|gene|rna|id)[:-]")
_PARENT = re.compile(rb"(?:^|;)\s*Parent=([^;]*)").search
_ID = re.compile(rb"(?:^|;)\s*ID=([^;]*)").search
_TRANSCRIPT_ATTRIBUTE = re.compile(rb"(?:^|;)\s*transcript_id=([^;]*)").search
_KEPT = ("gene_id", "gene_name", "gene", "Name", "transcript_id", "tag")


def _several(match: re.Match | None) -> list[str]:
    """Comma-separated identifiers; the commas inside one are url-escaped, so split first."""
    if not match:
        return []
    return [unquote(part) for part in match[1].decode("utf-8", "replace").split(",") if part]


def _attributes(raw: bytes) -> dict[str, str]:
    pairs = (part.partition("=") for part in raw.decode("utf-8", "replace").split(";"))
    return {k: v for key, _, v in pairs if (k := key.strip()) in _KEPT}


def read_gff3(builder: Builder, lines: Lines) -> dict[str, Names]:
    """GFF3 of Ensembl, GENCODE or NCBI: exon -> transcript -> gene through Parent, in any order of lines.

    An exon may have several parents, a transcript several genes. Features are told apart by who has exons, so any type
    of transcript will do; exons that hang on a gene directly make that gene its own transcript.
    """
    features: dict[str, tuple[list[str], dict[str, str]]] = {}
    for number, chrom, columns in fields_of(builder, lines):
        if columns[2] == b"exon":
            parents = _several(_PARENT(columns[8])) or _several(_TRANSCRIPT_ATTRIBUTE(columns[8]))
            if not parents:
                raise builder.malformed(number, "exon without Parent or transcript_id")
            start, end, strand = _place(builder, number, columns)
            if not strand:
                builder.unstranded += 1
                continue
            for parent in parents:
                builder.exon(number, parent, chrom, start, end, strand)
        elif columns[2] not in _NEVER_PARENTS and (identity := _ID(columns[8])):
            key = unquote(identity[1].decode("utf-8", "replace"))
            features.setdefault(key, (_several(_PARENT(columns[8])), _attributes(columns[8])))
    return {key: _gff3_names(key, features) for key in builder.index}


def _gff3_names(key: str, features: dict) -> Names:
    parents, attributes = features.get(key, ([], {}))
    tags = frozenset(tag_name(unquote(t)) for t in attributes.get("tag", "").split(",") if t)
    identity = unquote(attributes.get("transcript_id") or _GFF3_PREFIX.sub("", key))
    genes = []
    for top in dict.fromkeys(t for p in (parents or [key]) for t in _tops(p, features)):
        gene = features.get(top, ([], {}))[1]
        name = gene.get("gene_id") or (top != key and attributes.get("gene_id")) or _GFF3_PREFIX.sub("", top)
        shown = gene.get("gene_name") or gene.get("gene") or gene.get("Name") or attributes.get("gene_name") or name
        genes.append((unquote(name), unquote(shown)))
    return Names(identity, genes, tags)


def _tops(key: str, features: dict, depth: int = 8) -> list[str]:
    """The outermost ancestors of a feature (the genes)."""
    parents = features.get(key, ([],))[0]
    if not parents or not depth:
        return [key]
    return [top for parent in parents for top in _tops(parent, features, depth - 1)]


# ---- SpliceAI gene table --------------------------------------------------------------------------------------------


def read_gene_table(builder: Builder, lines: Lines) -> dict[str, Names]:
    """NAME CHROM STRAND TX_START TX_END EXON_START EXON_END; starts 0-based, ends exclusive, comma-separated lists."""
    found: dict[str, Names] = {}
    for number, line in lines:
        columns = line.rstrip(b"\r\n").split(b"\t")
        if not line.strip() or line[:1] == b"#" or columns[:2] == [b"NAME", b"CHROM"]:
            continue
        if len(columns) != 7 or columns[2] not in (b"+", b"-"):
            raise builder.malformed(number, "not NAME CHROM STRAND TX_START TX_END EXON_START EXON_END")
        chrom = builder.seen.get(columns[1])
        chrom = builder.contig(columns[1]) if chrom is None else chrom
        if chrom < 0:
            builder.dropped[columns[1]] += chrom == -1
            continue
        try:
            starts, ends = ([int(v) for v in c.split(b",") if v] for c in columns[5:])
        except ValueError as error:
            raise builder.malformed(number, "exon starts or ends are not integers") from error
        if len(starts) != len(ends) or not starts:
            raise builder.malformed(number, f"{len(starts)} exon starts and {len(ends)} exon ends")
        name = columns[0].decode("utf-8", "replace")
        key = name if name not in found else f"{name}:{number}"  # a name that stands twice is two transcripts
        for start, end in zip(starts, ends, strict=True):
            builder.exon(number, key, chrom, start, end, _STRANDS[columns[2]])
        found[key] = Names(key, [(name, name)])
    return found


# ---- which one ------------------------------------------------------------------------------------------------------


def sniff(head: list[bytes], where: str) -> Callable[[Builder, Lines], dict[str, Names]]:
    """The reader for a file, from its first lines (see lines.head)."""
    for line in head:
        if line.startswith(b"##gff-version"):
            if line.split()[1:2] and line.split()[1][:1] == b"3":
                return read_gff3
            continue
        if line.lstrip(b"#").startswith(b"NAME\tCHROM\tSTRAND"):
            return read_gene_table
        if not line.strip() or line.startswith(b"#"):
            continue
        columns = line.rstrip(b"\r\n").split(b"\t")
        if len(columns) == 7 and columns[2] in (b"+", b"-"):
            return read_gene_table
        if len(columns) == 9 and re.match(rb"\s*[^\s=;\"]+=", columns[8]):
            return read_gff3
        if len(columns) >= 8:
            return read_gtf
        break
    raise MetaError(f"neither GTF, GFF3 nor a SpliceAI gene table, {where}; give one of these, plain or gzip")
