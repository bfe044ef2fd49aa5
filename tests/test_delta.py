"""Delta scores: the arithmetic against brute force, and what has to hold whatever the network."""

import itertools

import numpy as np
import pytest
from conftest import random_sequence, write_fasta
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import random_net

from libmeta import engines
from libmeta.alleles import Edit
from libmeta.cone import VariantScorer
from libmeta.contigs import Contigs
from libmeta.delta import KINDS, Allele, Deltas, MismatchGuard, effect, folded
from libmeta.errors import MetaError
from libmeta.gene_index import GeneIndex
from libmeta.genome import Genome, decode, encode, reverse_complement
from libmeta.introns import ACCEPTOR, DONOR
from libmeta.variant_windows import Aligned, ConeScorer, PlainScorer, aligned

SEQUENCE = random_sequence(700, seed=3)
NETS = [random_net(40, seed=i) for i in range(2)]
REACH = 30


def scorers(genome: Genome) -> tuple[PlainScorer, ConeScorer]:
    plain = PlainScorer(engines.build(NETS, "reference", threads=1), genome)
    return plain, ConeScorer(VariantScorer(NETS, threads=1), genome)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A genome whose contig `r` is the reverse complement of `f`, and its scorers."""
    back = decode(reverse_complement(encode(SEQUENCE)))
    genome = Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", {"f": SEQUENCE, "r": back}))
    return genome, *scorers(genome)


@st.composite
def edits(draw, low=0, high=700):
    start = draw(st.integers(low, high - 12))
    removed = SEQUENCE[start : start + draw(st.integers(0, 12))]
    return Edit(start, removed, draw(st.text(st.sampled_from("ACGT"), max_size=8)))


def as_list(found: Aligned) -> list[tuple]:
    """(position, offset, ref or None, alt) rows of a window, by brute force."""
    rows = [(found.start + i, 0, found.ref[i], found.alt[i]) for i in range(len(found.ref))]
    rows += [(int(a), int(o), None, s) for a, o, s in zip(found.after, found.offset, found.inserted, strict=True)]
    return sorted(rows, key=lambda r: r[:2])


# ---- arithmetic -----------------------------------------------------------------------------------------------------


@given(edit=edits(), reach=st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_bases_are_laid_over_each_other(edit, reach):
    """With numbers for scores: kept bases keep theirs, every base of ALT appears once and in order."""
    low, high = edit.window(reach, len(SEQUENCE))
    alt_length = high - low - len(edit.removed) + len(edit.inserted)
    ref = np.repeat(np.arange(high - low)[:, None], 3, 1).astype(np.float32)
    alt = np.repeat(1000 + np.arange(alt_length)[:, None], 3, 1).astype(np.float32)
    found = aligned(edit, low, ref, alt)
    rows = as_list(found)
    assert [int(r[3][0]) - 1000 for r in rows if r[3][0]] == list(range(alt_length))
    whole = SEQUENCE[: edit.start] + edit.inserted + SEQUENCE[edit.start + len(edit.removed) :]
    deleted = 0
    for pos, offset, before, after in rows:
        if not after[0]:
            deleted += 1
            assert edit.start <= pos < edit.start + len(edit.removed)
        elif before is not None and not edit.start <= pos < edit.start + len(edit.removed):
            assert whole[low + int(after[0]) - 1000] == SEQUENCE[pos]
        assert (offset > 0) == (before is None)
    i, j = edit.pairs
    assert deleted == len(edit.removed) - len(i)
    assert len(found.inserted) == len(edit.inserted) - len(j)


probability = st.floats(0, 1, width=32)


@st.composite
def windows(draw):
    n, k = draw(st.integers(1, 6)), draw(st.integers(0, 3))
    numbers = [draw(st.lists(probability, min_size=3 * m, max_size=3 * m)) for m in (n, n, k)]
    ref, alt, new = (np.array(x, np.float32).reshape(-1, 3) for x in numbers)
    after = np.full(k, 100 + draw(st.integers(-1, n - 1)))
    known = np.array(draw(st.lists(st.booleans(), min_size=2 * n, max_size=2 * n))).reshape(2, n)
    return Aligned(100, ref, alt, new, after, np.arange(1, k + 1)), known


@given(case=windows())
@settings(max_examples=200, deadline=None)
def test_effect_is_the_brute_force_maximum(case):
    found, known = case
    result = effect(found, known)
    for k, (site, sign) in enumerate([(ACCEPTOR, 1), (ACCEPTOR, -1), (DONOR, 1), (DONOR, -1)]):
        raw, masked = [], []
        for pos, offset, ref, alt in as_list(found):
            size = sign * (alt[site] - (0 if ref is None else ref[site]))
            annotated = ref is not None and known[site, pos - found.start]
            raw.append((size, pos, offset))
            if annotated == (sign < 0) and size > 0:
                masked.append((size, pos, offset))
        best = max(raw, key=lambda r: r[0])
        assert result.score[k] == pytest.approx(max(best[0], 0), abs=1e-7)
        assert (result.pos[k], result.offset[k]) == best[1:]
        if masked:
            best = max(masked, key=lambda r: r[0])
            assert result.masked.score[k] == pytest.approx(best[0], abs=1e-7)
            assert (result.masked.pos[k], result.masked.offset[k]) == best[1:]
        else:
            assert (result.masked.score[k], result.masked.pos[k]) == (0, -1)
            assert np.isnan(result.masked.alt[k])
        assert np.isnan(result.ref[k]) == (result.offset[k] > 0)


@pytest.mark.parametrize(
    "edit", [Edit(300, SEQUENCE[300], "T"), Edit(301, SEQUENCE[301:305], ""), Edit(301, "", "GTC")]
)
def test_folded_is_what_spliceai_computes(world, edit):
    """SpliceAI's own steps for one-base, deleting and inserting alleles, on windows around the anchor."""
    genome, plain, _ = world
    distance, context = REACH, plain.context
    (found,) = plain.score("f", "+", [edit], distance)
    ours = folded(found, edit.anchor, distance)
    # SpliceAI: alleles with their anchor, the same stretch of genome
    pos, middle = edit.anchor, distance + context
    ref, alt = SEQUENCE[pos : edit.end], SEQUENCE[pos : edit.start] + edit.inserted
    codes = genome.codes("f", pos - middle, pos + middle + 1)
    y_ref = plain.engine.score(codes)
    y_alt = plain.engine.score(np.concatenate([codes[:middle], encode(alt), codes[middle + len(ref) :]]))
    if len(ref) > 1:
        y_alt = np.concatenate([y_alt[: distance + 1], np.zeros((len(ref) - 1, 3)), y_alt[distance + 1 :]])
    elif len(alt) > 1:
        top = y_alt[distance : distance + len(alt)].max(axis=0)[None]
        y_alt = np.concatenate([y_alt[:distance], top, y_alt[distance + len(alt) :]])
    np.testing.assert_allclose(ours.ref, y_ref, atol=1e-5)
    np.testing.assert_allclose(ours.alt, y_alt, atol=1e-5)
    assert ours.start == pos - distance
    assert not len(ours.inserted)


# ---- whatever the network -------------------------------------------------------------------------------------------


def numbers(found: Aligned, known=None) -> np.ndarray:
    result = effect(found, known)
    return np.stack([result.score, result.pos, result.offset])


def close(one: Aligned, other: Aligned) -> None:
    for name in ("start", "ref", "alt", "inserted", "after", "offset"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-5)


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize("bounds", [None, (250, 420)])
def test_cones_equal_whole_windows_in_any_batch_and_order(world, strand, bounds):
    _, plain, cones = world
    random = np.random.default_rng(4)
    some = []
    for _ in range(16):
        start, size = int(random.integers(0, 690)), int(random.choice([0, 1, 1, 5]))
        some.append(
            Edit(start, SEQUENCE[start : start + size], random_sequence(int(random.choice([0, 1, 1, 4])), start))
        )
    some += [Edit(0, "", "GA"), Edit(0, SEQUENCE[0], "T"), Edit(699, SEQUENCE[699], ""), Edit(350, "", "")]
    whole = plain.score("f", strand, some, REACH, bounds)
    for edit, one in zip(some, whole, strict=True):
        (alone,) = plain.score("f", strand, [edit], REACH, bounds)
        assert np.array_equal(alone.alt, one.alt)
        assert np.array_equal(alone.ref, one.ref)
    for order in (range(len(some)), random.permutation(len(some)).tolist()):
        for size in (1, 7, len(some)):
            for batch in itertools.batched(order, size) if hasattr(itertools, "batched") else [tuple(order)]:
                found = cones.score("f", strand, [some[i] for i in batch], REACH, bounds)
                for i, one in zip(batch, found, strict=True):
                    close(one, whole[i])


@given(edit=edits(60, 640), strand=st.sampled_from("+-"))
@settings(max_examples=25, deadline=None)
def test_alt_equal_to_ref_changes_nothing(world, edit, strand):
    for scorer in world[1:]:
        (found,) = scorer.score("f", strand, [Edit(edit.start, edit.removed, edit.removed)], REACH)
        assert np.array_equal(found.ref, found.alt)
        assert not effect(found, None).score.any()


@given(edit=edits(100, 600).filter(lambda e: e.removed != e.inserted), strand=st.sampled_from("+-"))
@settings(max_examples=25, deadline=None)
def test_swapping_ref_and_alt_swaps_gain_and_loss(world, tmp_path_factory, edit, strand):
    _, plain, _ = world
    after = edit.start + len(edit.removed)
    changed = SEQUENCE[: edit.start] + edit.inserted + SEQUENCE[after:]
    other = Genome(write_fasta(tmp_path_factory.mktemp("s") / "g.fa", {"f": changed}))
    (there,) = plain.score("f", strand, [edit], REACH)
    (back,) = PlainScorer(plain.engine, other).score(
        "f", strand, [Edit(edit.start, edit.inserted, edit.removed)], REACH
    )
    if len(edit.removed) == len(edit.inserted) or not edit.removed or not edit.inserted:
        np.testing.assert_allclose(effect(there, None).score, effect(back, None).score[[1, 0, 3, 2]], atol=1e-5)
        if len(edit.removed) == len(edit.inserted):
            np.testing.assert_allclose(there.alt - there.ref, back.ref - back.alt, atol=1e-5)


@given(edit=edits(100, 600))
@settings(max_examples=25, deadline=None)
def test_minus_strand_is_the_mirrored_plus_strand(world, edit):
    _, plain, cones = world
    if len(edit.removed) != len(edit.inserted) and edit.removed and edit.inserted:
        return  # a complex allele may be laid out in several equally good ways
    mirrored = Edit(
        len(SEQUENCE) - edit.start - len(edit.removed),
        *(decode(reverse_complement(encode(x))) for x in (edit.removed, edit.inserted)),
    )
    # the anchor lies on the other side of an indel, so the windows reach one base further here or there
    for scorer in (plain, cones):
        (one,), (two,) = scorer.score("f", "+", [edit], REACH), scorer.score("r", "-", [mirrored], REACH)
        rows = {(p, o): (r, a) for p, o, r, a in as_list(one)}
        count = len(edit.inserted) if len(one.inserted) else 0
        shared = 0
        for pos, offset, ref, alt in as_list(two):
            place = (len(SEQUENCE) - 2 - pos, count + 1 - offset) if offset else (len(SEQUENCE) - 1 - pos, 0)
            if place in rows:
                shared += 1
                np.testing.assert_allclose(rows[place][1], alt, atol=1e-5)
                assert (ref is None) == (rows[place][0] is None)
                if ref is not None:
                    np.testing.assert_allclose(rows[place][0], ref, atol=1e-5)
        assert shared >= len(rows) - 1


def test_a_variant_is_not_felt_beyond_the_context(world):
    _, plain, _ = world
    (found,) = plain.score("f", "+", [Edit(350, SEQUENCE[350], "A" if SEQUENCE[350] != "A" else "C")], 300)
    assert (found.start, len(found.ref)) == (350 - plain.context, 2 * plain.context + 1)


def test_a_whole_contig_can_be_deleted(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", {"f": SEQUENCE[:60]}))
    for scorer in scorers(genome)[:1]:
        (found,) = scorer.score("f", "-", [Edit(0, SEQUENCE[:60], "")], REACH)
        assert len(found.ref) == 60
        assert not found.alt.any()


# ---- records --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Two overlapping genes on the plus strand, one on the minus strand that overlaps both; 600 to 700 has none."""
    folder = tmp_path_factory.mktemp("a")
    letters = list(SEQUENCE)
    for at, pair in ((200, "GT"), (298, "AG"), (230, "GT"), (318, "AG"), (260, "CT"), (398, "AC")):
        letters[at : at + 2] = pair
    genome = Genome(write_fasta(folder / "g.fa", {"f": "".join(letters)}))
    table = "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
    table += "ONE\tf\t+\t150\t350\t150,300,\t200,350,\nTWO\tf\t+\t180\t380\t180,320,\t230,380,\n"
    table += "BACK\tf\t-\t210\t500\t210,400,\t260,500,\n"
    (folder / "genes.txt").write_text(table)
    return genome, GeneIndex(genome, [{"name": "g", "gtf": folder / "genes.txt", "tag": None}])


def test_genes_and_sites_are_found(annotated):
    _, genes = annotated
    assert [(g.name, g.strand) for g in genes.over("f", 225, 226)] == [("ONE", "+"), ("TWO", "+"), ("BACK", "-")]
    assert [g.name for g in genes.over("f", 349, 350)] == ["ONE", "TWO", "BACK"]
    assert [g.name for g in genes.over("f", 350, 351)] == ["TWO", "BACK"]
    assert genes.over("f", 500, 510) == genes.over("f", 100, 150) == []
    plus, minus = (genes.annotated("f", s, 190, 410) for s in "+-")
    assert (np.flatnonzero(plus[DONOR]) + 190).tolist() == [199, 229]
    assert (np.flatnonzero(plus[ACCEPTOR]) + 190).tolist() == [300, 320]
    assert (np.flatnonzero(minus[DONOR]) + 190).tolist() == [400]
    assert (np.flatnonzero(minus[ACCEPTOR]) + 190).tolist() == [259]
    (gene,) = genes.over("f", 370, 375)[:1]
    assert genes.transcripts(gene, "f", 370, 375) == ["TWO"]


def test_rows_of_genes_strands_and_intergenic_alleles(annotated):
    genome, genes = annotated
    deltas = Deltas(genome, scorers(genome)[1], genes, REACH, 100)
    base = genome.codes("f", 225, 226)
    other = "A" if decode(base) != "A" else "C"
    found = deltas.judge("f", 226, decode(base), [other, "*"])
    found += deltas.judge("f", 651, decode(genome.codes("f", 650, 651)), ["G" if SEQUENCE[650] != "G" else "C"])
    deltas.score(found)
    inside, star, outside = found
    assert [(r.gene.name, r.strand) for r in inside.rows] == [("ONE", "+"), ("TWO", "+"), ("BACK", "-")]
    assert (star.reason, star.rows) == ("star", [])
    assert [(r.gene, r.strand) for r in outside.rows] == [(None, "+"), (None, "-")]
    one, two, back = (r.effect for r in inside.rows)
    assert np.array_equal(one.score, two.score)
    assert not np.array_equal(one.score, back.score)
    # masking looks at the sites of every gene: TWO's donor at 229 is annotated for ONE's row as well
    known = genes.annotated("f", "+", inside.rows[0].aligned.start, inside.rows[0].aligned.start + 61)
    np.testing.assert_array_equal(numbers(inside.rows[0].aligned, known)[0], one.score)
    assert one.masked.pos[KINDS.index("dl")] in (-1, 199, 229)


def test_spellings_get_the_same_scores(annotated):
    genome, genes = annotated
    deltas = Deltas(genome, scorers(genome)[1], genes, REACH, 100)
    text = decode(genome.codes("f", 0, 700))
    new = "A" if text[225] != "A" else "C"
    found = []
    for low, high in itertools.product(range(4), range(4)):
        before, after = text[225 - low : 225], text[226 : 226 + high]
        found += deltas.judge("f", 226 - low, before + text[225] + after, [before + new + after])
    deltas.score(found)
    assert len({a.edit for a in found}) == 1
    for allele in found[1:]:
        for one, two in zip(found[0].rows, allele.rows, strict=True):
            assert np.array_equal(one.effect.score, two.effect.score)
            assert np.array_equal(one.effect.pos, two.effect.pos)


def test_guard_names_the_likely_build():
    contigs = Contigs({"chr15": 101991189}, "hg38.fa")
    good, bad = (Allele("chr15", 1, "A", "C", why) for why in (None, "ref_mismatch"))
    guard = MismatchGuard(contigs, None, "in.vcf")
    guard.add([good] * 95 + [bad] * 5)
    assert guard.rate == 0.05
    with pytest.raises(MetaError, match=r"6 of 101 .*GRCh37 \(hg19\)"):
        guard.add([bad])
    MismatchGuard(contigs, None, "in.vcf").add([bad] * 4)
