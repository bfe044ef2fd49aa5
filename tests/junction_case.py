"""Junctions of made-up genes, written as every format that is read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Junction:
    """Intron [start, end), 0-based half-open."""

    start: int
    end: int
    strand: str
    reads: int
    chrom: str = "chr1"


def of(transcripts, reads=lambda i: 5 + i) -> list[Junction]:
    """Every intron of the transcripts once, sorted, with different reads."""
    introns = sorted({(t.chrom, s, e, t.strand) for t in transcripts for s, e in t.introns})
    return [Junction(s, e, strand, reads(i), chrom) for i, (chrom, s, e, strand) in enumerate(introns)]


def star(junctions, strand=lambda s: "0+-".index(s)) -> str:
    rows = [
        (
            j.chrom,
            j.start + 1,
            j.end,
            strand(j.strand),
            1 if strand(j.strand) else 0,
            j.reads % 2,
            j.reads - 1,
            1,
            17,
        )
        for j in junctions
    ]
    return "".join("\t".join(map(str, r)) + "\n" for r in rows)


def bed12(junctions, left=30, right=45) -> str:
    lines = [
        f"{j.chrom}\t{j.start - left}\t{j.end + right}\tJUNC{i}\t{j.reads}\t{j.strand}"
        f"\t{j.start - left}\t{j.end + right}\t255,0,0\t2\t{left},{right}\t0,{j.end - j.start + left}\n"
        for i, j in enumerate(junctions)
    ]
    return "track name=junctions\n" + "".join(lines)


def bed6(junctions) -> str:
    return "".join(f"{j.chrom}\t{j.start}\t{j.end}\t.\t{j.reads}\t{j.strand}\n" for j in junctions)


def tsv(junctions) -> str:
    rows = "".join(f"{j.chrom}\t{j.start}\t{j.end}\t{j.strand}\t{j.reads}\n" for j in junctions)
    return "chrom\tstart\tend\tstrand\tcount\n" + rows


def gct(junctions, samples: dict) -> str:
    """samples: name -> function of the reads."""
    rows = "".join(
        f"{j.chrom}_{j.start + 1}_{j.end}\tG.1\t" + "\t".join(str(f(j.reads)) for f in samples.values()) + "\n"
        for j in junctions
    )
    return f"#1.2\n{len(junctions)}\t{len(samples)}\nName\tDescription\t" + "\t".join(samples) + "\n" + rows


WRITERS = {
    "star": star,
    "regtools": bed12,
    "leafcutter": bed6,
    "tsv": tsv,
    "gct": lambda j: gct(j, {"one": lambda r: r}),
}


def unstranded(junctions, mark=".") -> list[Junction]:
    return [Junction(j.start, j.end, mark, j.reads, j.chrom) for j in junctions]
