"""Motif columns against a plain scan of the transcript around each position; the reader of matrices."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from evidence_case import LENGTHS, NAN, World, same, write_fasta

from libmeta import motifs
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.modalities import rbp_motif
from libmeta.rbp_genes import HNRNPS, SPLICE_REGULATORS, SR_PROTEINS

TABLE = "Gene_name\tGene_id\tMutated\tOrganism\tMatrix_id\tScore\n"
OWNERS = {
    "m1": ("SRSF1",),
    "m2": ("HNRNPC", "QKI"),
    "m3": ("DDX3X",),
    "m4": ("SRSF1",),
    "m5": ("PTBP1",),
    "m6": ("HNRNPC",),
    "polya": ("PABPC1",),
}
TURN = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Seven matrices of 4 to 7 bases; c2 has unknown bases in it, c3 nothing else."""
    world = World(tmp_path_factory.mktemp("motifs"))
    text = world.sequence
    text["c2"] = text["c2"][:300] + "N" * 250 + text["c2"][550:]
    text["c3"] = "N" * 900
    write_fasta(world.folder / "n.fa", text)
    world.genome = Genome(world.folder / "n.fa")
    world.matrices = {}
    for name, k in zip(list(OWNERS)[:5], (4, 5, 6, 5, 7), strict=True):
        matrix = world.rng.dirichlet([0.08] * 4, k)
        matrix = np.round(0.98 * matrix + 0.005, 3)
        world.matrices[name] = matrix / matrix.sum(axis=1, keepdims=True)
    world.matrices["m6"] = 0.97 * world.matrices["m2"] + 0.0075  # two matrices of one protein that share k-mers
    world.matrices["polya"] = np.tile([0.97, 0.01, 0.01, 0.01], (5, 1))  # unknown bases are no A
    world.matrices["dull"] = np.full((6, 4), 0.25)
    world.matrices["mouse"] = np.eye(4)
    lines = [f">{n}\t{len(m)}\n" + "".join("\t".join(map(repr, r.tolist())) + "\n" for r in m)
             for n, m in world.matrices.items()]  # fmt: skip
    (world.folder / "pwm.txt").write_text("".join(lines))
    rows = [f"{p}\tx\tno\tHomo_sapiens\t{n}\t1.0**\n" for n, owners in OWNERS.items() for p in owners]
    rows += ["DULL\tx\tno\tHomo_sapiens\tdull\t1**\n", "MOUSE\tx\tno\tMus_musculus\tmouse\t1**\n",
             "WEAK\tx\tno\tHomo_sapiens\tmouse\t0.5\n", "MUTANT\tx\tyes\tHomo_sapiens\tmouse\t1**\n"]  # fmt: skip
    (world.folder / "db.txt").write_text(TABLE + "".join(rows))
    return world


def plain_matches(world, text):
    """{first base: {(protein, k): score}} of a transcript, matrix by matrix and base by base."""
    found = {}
    for name, owners in OWNERS.items():
        bits = np.log2(np.maximum(world.matrices[name], 1e-3) / 0.25)
        most = math.fsum(max(row) for row in bits)
        if most < 7:
            continue
        for i in range(len(text) - len(bits) + 1):
            word = text[i : i + len(bits)]
            if "N" in word:
                continue
            score = math.fsum(row["ACGT".index(c)] for row, c in zip(bits, word, strict=True))
            for owner in owners if score >= 0.9 * most - 1e-9 else ():
                here = found.setdefault(i, {})
                here[owner, len(bits)] = max(score, here.get((owner, len(bits)), -99))
    return found


def plain_row(found, text, i):
    around = {j: found.get(j, {}) for j in range(i - 50, i + 51)}
    scores = [v for here in around.values() for v in here.values()]
    proteins = {owner for here in around.values() for owner, _ in here}
    if not any(0 <= j < len(text) and text[j] != "N" for j in around):
        return [NAN] * 8
    return [
        len(proteins), max(scores, default=NAN), math.fsum(scores) / len(scores) if scores else NAN,
        len(proteins & SPLICE_REGULATORS), len(proteins & SR_PROTEINS), len(proteins & HNRNPS),
        sum(len(around[j]) for j in range(i - 50, i)) / 50, sum(len(around[j]) for j in range(i + 1, i + 51)) / 50,
    ]  # fmt: skip


def test_columns(world):
    reader = world.reader("rbp_motif", pwm="pwm.txt", metadata="db.txt")
    seen = 0
    for chrom, length in LENGTHS.items():
        for strand in "+-":
            text = world.sequence[chrom]
            text = text if strand == "+" else text[::-1].translate(TURN)
            found = plain_matches(world, text)
            for low, high in ((0, 400), (length // 2, length // 2 + 30), (length - 300, length)):
                columns = world.read(reader, chrom, low, high, strand)
                at = [p if strand == "+" else length - 1 - p for p in range(low, high)]
                rows = [plain_row(found, text, i) for i in at]
                for i, column in enumerate(rbp_motif.COLUMNS):
                    same(columns[column.name], [r[i] for r in rows], column.name)
                seen = max(seen, max((r[0] for r in rows if not math.isnan(r[0])), default=0))
            dense = world.dense(reader, chrom, -3, length + 4, strand)["motif_n_proteins"]
            column = world.read(reader, chrom, 0, length, strand)["motif_n_proteins"]
            same(dense, [NAN] * 3 + column.tolist() + [NAN] * 4)
    assert seen >= 3


def test_kmers_are_all_that_reach_the_share():
    rng = np.random.default_rng(2)
    for k in (4, 5, 6):
        matrix = np.maximum(rng.dirichlet([0.2] * 4, k), 1e-3)
        names, tables = motifs.matches({"x": matrix}, None)
        bits = np.log2(matrix / 0.25)
        most = bits.max(axis=1).sum()
        wanted = {}
        for word in itertools.product(range(4), repeat=k):
            score = sum(bits[i, b] for i, b in enumerate(word))
            if most >= 7 and score >= 0.9 * most:
                wanted[sum(b * 4 ** (k - 1 - i) for i, b in enumerate(word))] = score
        assert names == (["X"] if wanted else [])
        for table in tables:
            assert dict(zip(table.codes.tolist(), table.score, strict=True)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.1\t0.2\t0.3\t0.4\n", "not the probabilities of A C G U, FILE line 1"),
        (">a\t1\n0.1\t0.2\t0.3\n", "FILE line 2"),
        (">a\t1\n0.9\t0.9\t0\t0\n", "FILE line 2"),
        (">a\t1\n-1\t2\t0\t0\n", "FILE line 2"),
        (">a\t1\n1\t0\t0\t0\n>a\t1\n1\t0\t0\t0\n", "matrix 'a' without a name or there twice, FILE line 3"),
        (">a\t1\n", "matrix a has no rows, FILE"),
        ("\n", "no matrix, FILE"),
    ],
)
def test_bad_matrices(world, text, says):
    path = world.folder / "bad.txt"
    path.write_text(text)
    with pytest.raises(MetaError) as error:
        world.reader("rbp_motif", pwm="bad.txt")
    assert says.replace("FILE", str(path)) in str(error.value)


def test_bad_tables(world):
    (world.folder / "bad.db").write_text("a\tb\n")
    with pytest.raises(MetaError, match="no column Gene_name"):
        world.reader("rbp_motif", pwm="pwm.txt", metadata="bad.db")
    (world.folder / "bad.db").write_text(TABLE)
    with pytest.raises(MetaError, match="no human matrix"):
        world.reader("rbp_motif", pwm="pwm.txt", metadata="bad.db")
    (world.folder / "dull.txt").write_text(">dull\t1\n0.25\t0.25\t0.25\t0.25\n")
    with pytest.raises(MetaError, match="no matrix of at least 7 bits"):
        world.reader("rbp_motif", pwm="dull.txt")
    assert Path(world.reader("rbp_motif", pwm="pwm.txt").inputs["pwm"]).name == "pwm.txt"
