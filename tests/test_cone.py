"""Variants by their cone: equal to scoring the whole ALT sequence, for every kind of variant, engine and network."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import custom_net, random_codes, random_net

from libmeta import engines
from libmeta.cone import Edit, Stretch, VariantScorer, clusters
from libmeta.cone_plan import full_multiply_adds, plan
from libmeta.engines import cone_net, fft
from libmeta.errors import MetaError

EXACT = 1e-5
LENGTH = 1600
ENGINES = [
    pytest.param("fft", marks=pytest.mark.skipif(fft.missing() is not None, reason="there is no compiled kernel")),
    "torch",
]


def edit(position, deleted, inserted=()):
    return Edit(position, deleted, np.array(inserted, np.uint8))


def other(codes, context, position):
    """A base that the sequence does not have there."""
    return [codes[context + position] % 4 + 1]


def altered(codes, context, edits):
    for e in reversed(edits):
        codes = np.concatenate([codes[: context + e.position], e.inserted, codes[context + e.end :]])
    return codes


def in_full(engine, codes, edits, distance):
    """REF and ALT rows around the edits, both sequences scored whole."""
    ref, alt = engine.score(codes), engine.score(altered(codes, engine.context, edits))
    low, high = max(0, edits[0].position - distance), min(len(ref), edits[-1].end + distance)
    return low, ref[low:high], alt[low : high + len(alt) - len(ref)]


def kinds(codes, context):
    """One haplotype of every kind, by name."""
    run = codes[context + 700 : context + 703]
    return {
        "SNV": [edit(800, 1, other(codes, context, 800))],
        "SNV at the same place": [edit(800, 1, [other(codes, context, 800)[0] % 4 + 1])],
        "MNV": [edit(640, 3, (run + 1) % 4 + 1)],
        "insertion": [edit(801, 0, [1, 2, 3, 4, 4, 4, 1])],
        "deletion": [edit(790, 4)],
        "delins": [edit(777, 5, [3, 3])],
        "longer delins": [edit(777, 2, [3, 3, 1])],
        "long deletion": [edit(600, 300)],
        "long insertion": [edit(750, 0, np.resize([1, 3, 2], 90))],
        "unknown base": [edit(805, 1, [0])],
        "first base": [edit(0, 1, other(codes, context, 0))],
        "last base deleted": [edit(LENGTH - 1, 1)],
        "insertion at the end": [edit(LENGTH, 0, [2, 2])],
        "haplotype": [edit(500, 1, other(codes, context, 500)), edit(520, 6), edit(700, 0, [1, 1])],
        "haplotype back in frame": [edit(500, 2), edit(590, 0, [4, 1])],
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("context", "slope", "eps"), [(40, 0.0, 1e-3), (200, 0.1, 1e-5), (1000, 0.0, 1e-3)])
@pytest.mark.parametrize("distance", [50, 500])
def test_every_kind_of_variant(engine, context, slope, eps, distance):
    nets = [random_net(context, slope, eps, seed=seed) for seed in (0, 1)]
    truth, codes = engines.build(nets), random_codes(LENGTH, context)
    cases = kinds(codes, context)
    scored = VariantScorer(nets, engine, 1).score(codes, list(cases.values()), distance)
    for (name, edits), found in zip(cases.items(), scored, strict=True):
        low, ref, alt = in_full(truth, codes, edits, distance)
        assert found.ref.dtype == found.alt.dtype == np.float32 and found.start == low, name
        assert found.ref.shape == ref.shape and found.alt.shape == alt.shape, name
        assert np.abs(found.ref - ref).max() < EXACT and np.abs(found.alt - alt).max() < EXACT, name


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_ten_thousand_bases_of_context(slope):
    net = random_net(5000, slope)
    truth, codes = engines.build([net]), random_codes(1200, 5000)
    haplotypes = [[edit(600, 1, other(codes, 5000, 600))], [edit(500, 300)], [edit(610, 0, [1, 2, 3])]]
    scorer = VariantScorer([net], threads=1)
    for distance in (50, 500, 5000):
        scored = scorer.score(codes, haplotypes, distance)
        for edits, found in zip(haplotypes, scored, strict=True):
            _, ref, alt = in_full(truth, codes, edits, distance)
            assert np.abs(found.ref - ref).max() < EXACT and np.abs(found.alt - alt).max() < EXACT


@st.composite
def haplotypes(draw, length):
    """Sorted edits, apart, inside [0, length)."""
    ends = sorted(draw(st.lists(st.integers(0, length), min_size=2, max_size=6)))
    pairs = zip(ends[::2], ends[1::2], strict=False)
    return [edit(a, b - a, draw(st.lists(st.integers(0, 4), max_size=12))) for a, b in pairs]


def uneven(net):
    """The first convolution of every block narrower than the second, or wider."""
    blocks = []
    for number, block in enumerate(net.blocks):
        which = "conv1" if number % 2 else "conv2"
        conv = getattr(block, which)
        blocks.append(replace(block, **{which: replace(conv, weight=conv.weight[:, :, :1])}))
    return replace(net, blocks=tuple(blocks))


TINY = [
    custom_net([(3, 1), (5, 2), (7, 3)], 0.1, seed=1, channels=8, every=2),
    custom_net([(5, 1), (3, 9)], 0.0, seed=2, channels=8, every=1),
    uneven(custom_net([(9, 1), (3, 4), (5, 1), (3, 2)], 0.1, seed=3, channels=8, every=2)),
]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), which=st.sampled_from(range(len(TINY))), length=st.integers(1, 120), distance=st.integers(1, 60))
def test_any_edits_of_tiny_networks(data, which, length, distance):
    net = TINY[which]
    codes = random_codes(length, net.context, seed=length)
    cases = data.draw(st.lists(haplotypes(length), min_size=1, max_size=4))
    truth = engines.build([net], "reference", dtype="float64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cone_net, "TOGETHER", data.draw(st.sampled_from([1, 100, 24_000])))
        scored = VariantScorer([net], "torch", 1).score(codes, cases, distance)
    for edits, found in zip(cases, scored, strict=True):
        _, ref, alt = in_full(truth, codes, edits, distance)
        assert found.ref.shape == ref.shape and found.alt.shape == alt.shape
        assert np.abs(found.ref - ref).max(initial=0) < EXACT and np.abs(found.alt - alt).max(initial=0) < EXACT


@settings(max_examples=50, deadline=None)
@given(edits=haplotypes(50), distance=st.integers(1, 40))
def test_rows_are_aligned_as_the_sequences_are(edits, distance):
    codes = random_codes(50, TINY[0].context)
    (found,) = VariantScorer(TINY[:1], "torch", 1).score(codes, [edits], distance)
    position = np.arange(found.start, found.start + len(found.ref))
    paired = found.alt_row >= 0
    assert (np.diff(found.alt_row[paired]) > 0).all() and found.alt_row.max(initial=-1) < len(found.alt)
    gone = sum(max(0, e.deleted - len(e.inserted)) for e in edits)
    assert np.count_nonzero(~paired) == gone and len(found.alt) - paired.sum() == sum(
        max(0, len(e.inserted) - e.deleted) for e in edits
    )
    inside = np.zeros(len(position), bool)
    for e in edits:
        inside |= (position >= e.position) & (position < e.end)
    sequence = altered(codes, TINY[0].context, edits)[TINY[0].context + found.start :]
    outside = ~inside
    assert (sequence[found.alt_row[outside]] == codes[TINY[0].context + position[outside]]).all()
    assert (found.delta[~paired] == -found.ref[~paired]).all()
    assert np.allclose(found.delta[paired], found.alt[found.alt_row[paired]] - found.ref[paired])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_sequence_has_no_effect_at_all(engine):
    net = random_net(200)
    codes = random_codes(300, 200)
    same = codes[200 + 100 : 200 + 140]
    cases = [[edit(100, 40, same)], [edit(101, 1, same[1:2]), edit(120, 2, same[20:22])], [edit(90, 0)]]
    cases.append([edit(150, 1, other(codes, 200, 150))])
    scored = VariantScorer([net], engine, 1).score(codes, cases)
    assert [bool(found.delta.any()) for found in scored] == [False, False, False, True]


@pytest.mark.parametrize("engine", ENGINES)
def test_order_and_company_do_not_matter(engine, monkeypatch):
    nets = [random_net(200, seed=seed) for seed in (0, 1)]
    codes = random_codes(LENGTH, 200)
    cases = list(kinds(codes, 200).values())
    cases += [[edit(position, 1, other(codes, 200, position))] for position in range(700, 780)]
    scorer = VariantScorer(nets, engine, 2 if engine == "fft" else 1)
    together = scorer.score(codes, cases, 100)
    order = np.random.default_rng(0).permutation(len(cases))
    shuffled = scorer.score(codes, [cases[i] for i in order], 100)
    split = list(scorer.score_many((Stretch(codes, cases[i : i + 7]) for i in range(0, len(cases), 7)), 100))
    alone = [found for part in split for found in part]
    monkeypatch.setattr(cone_net, "TOGETHER", 3_000)
    narrow = scorer.score(codes, cases, 100)
    for number, i in enumerate(order):
        for found in (shuffled[number], alone[i], narrow[i]):
            assert np.abs(found.ref - together[i].ref).max() < 1e-6
            assert np.abs(found.alt - together[i].alt).max() < 1e-6


def test_swapping_ref_and_alt_turns_the_change_round():
    net, context = random_net(200), 200
    codes, scorer = random_codes(400, 200), VariantScorer([random_net(200)], threads=1)
    assert net.context == context
    for forward in (edit(200, 1, other(codes, 200, 200)), edit(180, 0, [1, 2, 3]), edit(190, 7)):
        back = Edit(forward.position, len(forward.inserted), codes[200:][forward.position : forward.end])
        (there,) = scorer.score(codes, [[forward]], 100)
        (here,) = scorer.score(altered(codes, 200, [forward]), [[back]], 100)
        assert np.abs(there.ref - here.alt).max() < EXACT and np.abs(there.alt - here.ref).max() < EXACT


@settings(deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4),
    length=st.integers(1, 9),
    distance=st.integers(1, 20),
)
def test_the_plan_is_where_change_meets_need(shapes, length, distance):
    reaches = [(a * dilation, b * dilation) for a, b, dilation in shapes]
    flat = [reach for block in reaches for reach in block]
    middle = sum(flat) + distance + 5
    size = 2 * middle + length
    change = [np.zeros(size, bool)]
    change[0][middle : middle + length] = True
    need = [np.zeros(size, bool)]
    need[0][middle - distance : middle + length + distance] = True
    for forward, backward in zip(flat, reversed(flat), strict=True):
        change.append(np.convolve(change[-1], np.ones(2 * forward + 1), "same") > 0)
        need.append(np.convolve(need[-1], np.ones(2 * backward + 1), "same") > 0)
    both = [np.flatnonzero(a & b) - middle for a, b in zip(change, need[::-1], strict=True)]
    ends = [(rows[0], rows[-1] + 1) for rows in both]
    cone = plan(reaches, length, distance)
    assert [cone.blocks[0].before, *(x for b in cone.blocks for x in (b.hidden, b.after))] == ends
    kernels = [(2 * a + 1, 2 * b + 1) for a, b, _ in shapes]
    taps = [k for pair in kernels for k in pair]
    counted = sum((b - a) * k for (a, b), k in zip(ends[1:], taps, strict=True))
    assert cone.multiply_adds(kernels, 7) == counted * 49
    whole = sum(int(rows.sum()) * k for rows, k in zip(need[::-1][1:], taps, strict=True))
    assert full_multiply_adds(reaches, kernels, 7, length + 2 * distance) == whole * 49


def test_what_the_cone_saves_of_spliceai():
    """About 1.4 G multiply-adds per network and SNV at 500 bases, where scoring a window takes 5.2 G."""
    saved = VariantScorer([random_net(5000)], threads=1).saved()
    assert 1.3e9 < saved["cone"] < 1.45e9 and 5.0e9 < saved["full"] < 5.4e9


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 400)), max_size=40), st.integers(1, 9))
def test_clusters_cover_all_in_order(spans, most):
    spans = sorted((start, start + size) for start, size in spans)
    slices = list(clusters(spans, gap=2_000, longest=5_000, most=most))
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(len(spans)))
    for part in slices:
        members = spans[part]
        assert 1 <= len(members) <= most
        assert len(members) == 1 or max(end for _, end in members) - members[0][0] <= 5_000
        reached = members[0][1]
        for start, end in members[1:]:
            assert start - reached <= 2_000
            reached = max(reached, end)


def test_what_is_refused():
    net, codes = random_net(40), random_codes(100, 40)
    scorer = VariantScorer([net], threads=1)
    for edits in (
        [],
        [edit(99, 2)],
        [edit(-1, 1)],
        [edit(5, 3), edit(7, 1)],
        [edit(9, 1), edit(3, 1)],
        [edit(3, 1, [5])],
    ):
        with pytest.raises(ValueError, match=r"edits must be|inserted codes"):
            scorer.score(codes, [edits])
    for distance in (0, 10_001):
        with pytest.raises(ValueError, match="distance must be"):
            scorer.score(codes, [], distance)
    with pytest.raises(ValueError, match="codes must be"):
        scorer.score(codes[:80], [])
    assert scorer.score(codes, []) == []
    with pytest.raises(MetaError, match="different contexts"):
        VariantScorer([net, random_net(200)])
    with pytest.raises(MetaError, match="unknown engine gpu"):
        VariantScorer([net], "gpu")
    with pytest.raises(MetaError, match="at least one weights file"):
        VariantScorer([])


def test_without_the_kernel(monkeypatch):
    monkeypatch.setenv("MS_NO_KERNEL", "1")
    assert VariantScorer([random_net(40)], threads=1).engine == "torch"
    with pytest.raises(MetaError, match="hidden by MS_NO_KERNEL"):
        VariantScorer([random_net(40)], "fft")
