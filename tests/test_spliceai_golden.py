"""SpliceAI's published delta strings to the digit, through our reader and engine.

The delta is SpliceAI's own definition for a substitution, written out here: gene-masked 10 kb context, distance 500,
unmasked scores.
"""

from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from test_basemodels import PUBLISHED, keras_oracle, real_spliceai

from libmeta import engines
from libmeta.basemodels import spliceai
from libmeta.genome import Genome, encode, reverse_complement

SHARED = Path(__file__).parents[2] / "shared" / "data" / "golden" / "spliceai.test.hg19.fa"
DISTANCE, CONTEXT = 500, 5000


def delta_string(score, genome, chrom, pos, alt, gene, start, end, strand):
    """SpliceAI=... of a substitution. score: codes (L + 10,000) -> (L, 3) donor, acceptor, neither, transcript orientation.

    pos: 1-based; start, end: transcript bounds as in SpliceAI's table (both as it compares them to the 1-based pos).
    """
    reach = CONTEXT + DISTANCE
    codes = genome.codes(chrom, pos - 1 - reach, pos + reach)
    codes[: max(reach + start - pos, 0)] = 0
    codes[len(codes) - max(reach - end + pos, 0) :] = 0
    both = []
    for letter in (None, alt):
        one = codes.copy()
        if letter:
            one[reach] = encode(letter)[0]
        if strand == "-":
            both.append(score(reverse_complement(one))[::-1])
        else:
            both.append(score(one))
    change = both[1] - both[0]
    picked = [change[:, 1].argmax(), change[:, 1].argmin(), change[:, 0].argmax(), change[:, 0].argmin()]
    sizes = [change[picked[0], 1], -change[picked[1], 1], change[picked[2], 0], -change[picked[3], 0]]
    return "|".join([alt, gene, *(f"{s:.2f}" for s in sizes), *(str(int(p) - DISTANCE) for p in picked)])


@pytest.mark.skipif(not SHARED.exists(), reason="SpliceAI's own test sequence is not here")
@pytest.mark.parametrize(
    ("pos", "alt", "published"),
    [
        (94077, "C", "C|TUBB8|0.15|0.27|0.00|0.05|89|-23|-267|193"),
        (94555, "T", "T|TUBB8|0.01|0.18|0.15|0.62|-2|110|-190|0"),
    ],
)
def test_tubb8_to_the_digit(tmp_path, pos, alt, published):
    (tmp_path / "g.fa").write_bytes(SHARED.read_bytes())
    engine = engines.build(spliceai.read(real_spliceai()))
    found = delta_string(engine.score, Genome(tmp_path / "g.fa"), "chr10", pos, alt, "TUBB8", 92892, 95529, "-")
    assert found == published


def test_string_equals_that_of_the_keras_graph_in_float64():
    """The same definition on FBN1, against an interpreter of the .h5's own graph that shares no code with the reader."""
    paths = real_spliceai()[:2]
    engine = engines.build(spliceai.read(paths))

    def graph(codes):
        return np.mean([keras_oracle(p, codes)[:, PUBLISHED] for p in paths], axis=0)

    where = (Genome(DATA / "chr15.fa.gz"), "chr15", 48_420_686, "T", "FBN1", 48_408_305, 48_645_849, "-")
    ours, theirs = delta_string(engine.score, *where), delta_string(graph, *where)
    assert ours == theirs
    assert max(map(float, ours.split("|")[2:6])) > 0.05, ours
