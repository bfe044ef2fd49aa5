"""Meta model deltas: the same as refining both sequences in full, and what has to hold whatever the network."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import random_sequence, write_fasta
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import random_net
from test_predict_sequence import random_network, sequence_model, write_track

from libmeta import delta_meta, engines
from libmeta.alleles import Edit
from libmeta.basescore import N_RUN
from libmeta.cone import VariantScorer
from libmeta.config import Config
from libmeta.delta import Deltas, effect
from libmeta.delta_meta import MetaScorer
from libmeta.dense import read_piece
from libmeta.features import Sources, open_readers
from libmeta.genome import Genome, decode, encode, reverse_complement
from libmeta.predict_sequence import Refiner, refine
from libmeta.score_cache import Scorer
from libmeta.variant_windows import Aligned, ConeScorer

EXACT = 1e-5
LENGTH = 1400
TEXT = random_sequence(LENGTH, seed=5)
NETS = {"toy": [random_net(40, seed=1)], "other": [random_net(40, seed=2), random_net(40, seed=3)]}
ENGINES = {name: engines.build(nets, "reference", threads=1) for name, nets in NETS.items()}
DISTANCE = 60
KINDS = {
    "SNV": Edit(700, TEXT[700], "A" if TEXT[700] != "A" else "C"),
    "MNV": Edit(690, TEXT[690:693], "".join("CAGT"["ACTG".index(x)] for x in TEXT[690:693])),
    "deletion": Edit(720, TEXT[720:727], ""),
    "insertion": Edit(730, "", "GATTACA"),
    "delins": Edit(650, TEXT[650:658], "TTG"),
    "longer delins": Edit(800, TEXT[800:802], "TTGCA"),
    "long deletion": Edit(500, TEXT[500:640], ""),
    "first base": Edit(0, TEXT[0], "A" if TEXT[0] != "A" else "C"),
    "last base deleted": Edit(LENGTH - 1, TEXT[-1], ""),
    "insertion at the start": Edit(0, "", "CC"),
}


class World:
    """A genome, tracks on it, and a sequence model over two base models; edited or seen from the other end."""

    def __init__(self, folder, text=TEXT, tracks=None, channels=2, **changes):
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(2)
        if tracks is None:
            tracks = {name: rng.normal(1, 2, len(text)).astype("f4") for name in ("phylop", "phastcons")}
            tracks["phylop"][300:420] = np.nan
        self.text, self.tracks = text, tracks
        self.genome = Genome(write_fasta(folder / "g.fa", {"f": text}))
        values = {"modalities": {"conservation": {}}}
        for name, track in tracks.items():
            write_track_of(folder / f"{name}.bw", track)
            values["modalities"]["conservation"][name] = str(folder / f"{name}.bw")
        self.sources = Sources(Config(values, folder / "ms.toml"), self.genome)
        self.sources.base_scores = {
            name: Scorer(engine, self.genome, {"name": name}) for name, engine in ENGINES.items()
        }
        network = random_network(base_models=2, channels=channels, masks=1 if channels else 0, **changes)
        model = sequence_model(network, base_models=[{"name": n} for n in NETS])
        self.refiner = Refiner(model, threads=1)
        self.readers = open_readers(self.sources, ["conservation"] if channels else [], must=True)[0]

    def scorer(self) -> MetaScorer:
        cones = [ConeScorer(VariantScorer(nets, threads=1), self.genome) for nets in NETS.values()]
        return MetaScorer(self.refiner, cones[0], cones, self.sources, self.readers)

    def edited(self, folder, edit: Edit, **changes) -> "World":
        """The world after the edit, evidence at the bases that stay."""
        at, end = edit.start, edit.start + len(edit.removed)
        i, j = edit.pairs
        tracks = {}
        for name, track in self.tracks.items():
            new = np.full(len(edit.inserted), np.nan, "f4")
            new[j] = track[at + i]
            tracks[name] = np.concatenate([track[:at], new, track[end:]])
        channels = len(self.refiner.channel_names)
        return World(folder, self.text[:at] + edit.inserted + self.text[end:], tracks, channels, **changes)

    def mirrored(self, folder) -> "World":
        text = decode(reverse_complement(encode(self.text)))
        tracks = {name: track[::-1] for name, track in self.tracks.items()}
        return World(folder, text, tracks, len(self.refiner.channel_names))

    def full(self, strand: str) -> np.ndarray:
        """Every base as ms-predict refines it, (L, 3)."""
        margin = self.refiner.context
        core = np.zeros(len(self.text) + 2 * margin, bool)
        core[margin:-margin] = True
        names = self.refiner.base_names, self.refiner.channel_names
        piece = read_piece(self.sources, self.readers, *names, "f", -margin, len(self.text) + margin, strand, core)
        return refine(self.refiner, piece)


def write_track_of(path, track):
    import test_predict_sequence as other

    lengths, other.LENGTHS = other.LENGTHS, {"f": len(track)}
    try:
        write_track(path, {"f": np.asarray(track)})
    finally:
        other.LENGTHS = lengths


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("meta"))


@pytest.fixture(scope="module")
def scorer(world):
    return world.scorer()


def close(one: Aligned, other: Aligned) -> None:
    for name in ("start", "ref", "alt", "inserted", "after", "offset"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=EXACT)


def compared(world, after, scorer, edit, strand, distance=DISTANCE) -> None:
    """The window of an edit against both genomes refined whole."""
    (_,), (found,) = scorer.score("f", strand, [edit], distance)
    low, high = edit.window(distance, len(world.text))
    assert (found.start, len(found.ref)) == (low, high - low)
    np.testing.assert_allclose(found.ref, world.full(strand)[low:high], atol=EXACT)
    rest = after.full(strand)[low : high + len(edit.inserted) - len(edit.removed)]
    at, removed = edit.start - low, len(edit.removed)
    np.testing.assert_allclose(found.alt[:at], rest[:at], atol=EXACT)
    np.testing.assert_allclose(found.alt[at + removed :], rest[at + len(edit.inserted) :], atol=EXACT)
    i, j = edit.pairs
    np.testing.assert_allclose(found.alt[at + i], rest[at + j], atol=EXACT)
    new = np.setdiff1d(np.arange(len(edit.inserted)), j)
    np.testing.assert_allclose(found.inserted, rest[at + new], atol=EXACT)
    assert rest.std(axis=0).min() > 1e-3


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_refining_both_genomes_in_full(world, scorer, tmp_path, kind, strand):
    """Evidence is carried over: the edited genome's tracks lack what was inserted."""
    compared(world, world.edited(tmp_path / "e", KINDS[kind]), scorer, KINDS[kind], strand)


def test_the_widest_distance_reaches_what_the_network_still_sees(world, scorer, tmp_path):
    """Beyond the base models' context the base scores stay, the refined ones within the network's do not."""
    edit = KINDS["SNV"]
    compared(world, world.edited(tmp_path / "e", edit), scorer, edit, "+", 40 + world.refiner.context)
    (base,), (found,) = scorer.score("f", "+", [edit], 5000)
    assert len(base.ref) == 81
    assert len(found.ref) == 81 + 2 * world.refiner.context


@pytest.mark.parametrize(
    "changes", [{"channels": 0}, {"streams": ["sequence", "channels"]}, {"attention": 20}, {"kind": "seq2seq"}]
)
def test_other_networks(tmp_path, changes):
    world = World(tmp_path / "w", **changes)
    scorer = world.scorer()
    rest = {k: v for k, v in changes.items() if k != "channels"}
    for kind in ("delins", "insertion"):
        compared(world, world.edited(tmp_path / kind, KINDS[kind], **rest), scorer, KINDS[kind], "-")


def test_runs_of_n_have_no_scores_as_in_ms_predict(tmp_path):
    text = TEXT[:200] + "N" * N_RUN + TEXT[200:]
    world = World(tmp_path / "w", text)
    edit = Edit(190, TEXT[190:193], "")
    (base,), (found,) = world.scorer().score("f", "+", [edit], DISTANCE)
    after = world.edited(tmp_path / "e", edit)
    rest = after.full("+")[: len(found.ref) + found.start - 3][found.start :]
    np.testing.assert_allclose(
        found.alt[:60][np.isfinite(found.alt[:60])], rest[:60][np.isfinite(rest[:60])], atol=EXACT
    )
    assert np.isnan(found.ref[200 - found.start :]).all()
    assert np.isfinite(found.ref[: 200 - found.start]).all()
    assert np.isfinite(base.ref).all()
    result = effect(found, None)
    assert np.isfinite(result.score).all() and (result.pos < 200).all()


@pytest.mark.parametrize("strand", "+-")
def test_order_company_and_batches_do_not_matter(world, scorer, strand, monkeypatch):
    rng = np.random.default_rng(4)
    some = [*KINDS.values(), Edit(350, "", ""), Edit(351, TEXT[351], TEXT[351])]
    for at in rng.integers(10, LENGTH - 20, 8).tolist():
        size = int(rng.choice([0, 1, 4]))
        some.append(Edit(at, TEXT[at : at + size], random_sequence(int(rng.choice([1, 3])), at)))
    alone = [scorer.score("f", strand, [edit], DISTANCE) for edit in some]
    for rows in (1, 3000, 1 << 17):
        monkeypatch.setattr(delta_meta, "ROWS", rows)
        order = rng.permutation(len(some)).tolist()
        base, found = scorer.score("f", strand, [some[i] for i in order], DISTANCE)
        for i, one, two in zip(order, base, found, strict=True):
            close(one, alone[i][0][0])
            close(two, alone[i][1][0])


@given(start=st.integers(0, LENGTH - 9), size=st.integers(0, 8), strand=st.sampled_from("+-"))
@settings(max_examples=15, deadline=None)
def test_alt_equal_to_ref_changes_nothing(scorer, start, size, strand):
    same = TEXT[start : start + size]
    _, (found,) = scorer.score("f", strand, [Edit(start, same, same)], DISTANCE)
    assert np.array_equal(found.ref, found.alt)
    assert not effect(found, None).score.any()


@pytest.mark.parametrize("kind", ["SNV", "MNV", "deletion"])
def test_swapping_ref_and_alt_swaps_gain_and_loss(tmp_path, kind):
    """Without evidence, which an inserted base does not get back."""
    world, edit = World(tmp_path / "w", channels=0), KINDS[kind]
    back = world.edited(tmp_path / "e", edit).scorer()
    (_,), (there,) = world.scorer().score("f", "+", [edit], DISTANCE)
    (_,), (again,) = back.score("f", "+", [Edit(edit.start, edit.inserted, edit.removed)], DISTANCE)
    np.testing.assert_allclose(effect(there, None).score, effect(again, None).score[[1, 0, 3, 2]], atol=EXACT)
    assert effect(there, None).score.max() > 1e-3


@pytest.mark.parametrize("kind", ["SNV", "MNV", "deletion", "insertion"])
def test_minus_strand_is_the_mirrored_plus_strand(world, scorer, tmp_path, kind):
    edit = KINDS[kind]
    letters = (decode(reverse_complement(encode(x))) for x in (edit.removed, edit.inserted))
    other = Edit(LENGTH - edit.start - len(edit.removed), *letters)
    (_,), (one,) = scorer.score("f", "+", [edit], DISTANCE)
    (_,), (two,) = world.mirrored(tmp_path / "m").scorer().score("f", "-", [other], DISTANCE)
    # an indel's anchor is on its other side: the windows reach one base further here or there
    low, high = max(one.start, LENGTH - two.start - len(two.ref)), min(one.start + len(one.ref), LENGTH - two.start)
    for name in ("ref", "alt"):
        here = getattr(one, name)[low - one.start : high - one.start]
        there = getattr(two, name)[::-1][low - (LENGTH - two.start - len(two.ref)) :][: high - low]
        np.testing.assert_allclose(here, there, atol=EXACT)
    np.testing.assert_allclose(one.inserted, two.inserted[::-1], atol=EXACT)


def test_equivalent_spellings_are_identical(world, scorer):
    deltas = Deltas(world.genome, scorer.primary, None, DISTANCE, 1000, meta=scorer)
    at = 700
    ref, alt = TEXT[at], KINDS["SNV"].inserted
    found = [
        *deltas.judge("f", at + 1, ref, [alt]),
        *deltas.judge("f", at, TEXT[at - 1 : at + 1], [TEXT[at - 1] + alt]),
        *deltas.judge("f", at - 2, TEXT[at - 3 : at + 4], [TEXT[at - 3 : at] + alt + TEXT[at + 1 : at + 4]]),
    ]
    for allele in found:
        deltas.score([allele])
    for row, *others in zip(*(a.rows for a in found), strict=True):
        for other in others:
            assert np.array_equal(row.meta_effect.score, other.meta_effect.score)
            assert np.array_equal(row.meta_effect.pos, other.meta_effect.pos)
        assert not np.array_equal(row.meta_effect.score, row.effect.score)


def test_a_model_that_is_its_base_gives_the_bases_deltas(world, scorer):
    refiner = Refiner(replace(world.refiner.model, is_base=True), threads=1)
    base = MetaScorer(refiner, scorer.primary, scorer.bases, world.sources, {})
    for edit in KINDS.values():
        (one,), (two,) = base.score("f", "-", [edit], DISTANCE)
        assert two is one
        close(one, scorer.primary.score("f", "-", [edit], DISTANCE)[0])
