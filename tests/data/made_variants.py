"""Makes fbn1.made.vcf beside this file: variants of FBN1 to try ms-delta on, placed by its annotation and a seed.

Made, not observed: nobody need have them, and no effect of them is known. Run: python tests/data/made_variants.py
"""

import random
import sys
from pathlib import Path

from libmeta import config
from libmeta.gene_index import GeneIndex
from libmeta.genome import Genome, decode

HERE = Path(__file__).parent
SEED, EXONS = 7, 10
CONTIG = "chr15"
DEEP = 100  # bases from the next exon on that are deep in an intron


def records() -> list[tuple]:
    """(POS, ID, REF, ALT), sorted: bases 1 and 2 of introns at both ends, exons, deep introns, short indels."""
    sources = config.load(str(HERE / "ms.toml"))
    genome = Genome(sources.genome())
    index = GeneIndex(genome, sources.annotation_tiers, {CONTIG})
    gene = next(g for g in index.over(CONTIG, 48_487_000, 48_487_001) if g.name == "FBN1")
    exons = index.transcript(gene, CONTIG, gene.start, gene.end).exons[::-1].tolist()  # FBN1 is on the minus strand
    chance = random.Random(SEED)
    found = []

    def add(name: str, start: int, removed: int = 1, inserted: str | None = None) -> None:
        ref = decode(genome.codes(CONTIG, start, start + removed))
        alt = ref[0] + inserted if inserted is not None else chance.choice([x for x in "ACGT" if x != ref])
        found.append((start + 1, f"made_{name}", ref, alt))

    for k in sorted(chance.sample(range(1, len(exons) - 1), EXONS)):
        start, end = exons[k]
        name, size = f"exon{k + 1}", end - start
        add(f"{name}_donor+{(d := chance.choice((1, 2)))}", start - d)
        add(f"{name}_acceptor-{(a := chance.choice((1, 2)))}", end + a - 1)
        add(f"{name}_inside", start + chance.randrange(5, size - 5))
        before = exons[k - 1][0]  # the exon before it lies to the right
        if before - end > 3 * DEEP:
            add(f"intron{k}_deep", chance.randrange(end + DEEP, before - DEEP))
        if k % 2:
            add(f"{name}_donor_deletion", start - 3, chance.randrange(3, 7), "")
            add(f"{name}_acceptor_insertion", end + chance.randrange(3, 8), 1, "".join(chance.choices("ACGT", k=3)))
    return sorted(set(found))


def text() -> str:
    """The file."""
    head = ["##fileformat=VCFv4.2", "##source=made by tests/data/made_variants.py from the annotation and a seed: not observed",
            "##contig=<ID=chr15,length=101991189>", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]  # fmt: skip
    rows = [f"{CONTIG}\t{pos}\t{name}\t{ref}\t{alt}\t.\t.\t." for pos, name, ref, alt in records()]
    return "\n".join(head + rows) + "\n"


if __name__ == "__main__":
    (HERE / "fbn1.made.vcf").write_text(text())
    sys.stderr.write("fbn1.made.vcf\n")
