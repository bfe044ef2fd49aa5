"""Alleles: every spelling of a change is one edit; reason codes; columns of a complex allele."""

import itertools

import numpy as np
import pytest
from conftest import random_sequence, write_fasta
from hypothesis import given, settings
from hypothesis import strategies as st

from libmeta.alleles import REASONS, Edit, normalise, reason, trimmed
from libmeta.genome import Genome

letters = st.sampled_from("ACGT")


@pytest.fixture(scope="module")
def repeats(tmp_path_factory):
    """A genome of short repeats, where indels can be written in many places."""
    sequence = "ACACACACAC" + "TTTTTTTT" + random_sequence(40) + "CAGCAGCAGCAG" + "GG" * 5 + "NN" + "AAAAA"
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", {"c": sequence})), sequence


def applied(sequence: str, start: int, removed: str, inserted: str) -> str:
    assert sequence[start : start + len(removed)] == removed
    return sequence[:start] + inserted + sequence[start + len(removed) :]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_spellings_of_one_haplotype_are_one_edit(repeats, data):
    genome, sequence = repeats
    known = sequence.index("N")
    start = data.draw(st.integers(0, known - 1))
    removed = sequence[start : data.draw(st.integers(start, min(start + 6, known)))]
    inserted = data.draw(st.text(letters, max_size=6))
    whole = applied(sequence, start, removed, inserted)
    edits = set()
    # every way to write the same sequence as REF and ALT between two kept ends
    for low, high in itertools.product(range(max(start - 5, 0), start + 1), range(3)):
        end = min(start + len(removed) + high, known)
        ref, alt = sequence[low:end], whole[low : end + len(inserted) - len(removed)]
        if ref and alt and ref != alt:
            edits.add(normalise("c", low + 1, ref, alt, genome))
    if edits:
        (edit,) = edits
        assert applied(sequence, edit.start, edit.removed, edit.inserted) == whole
        assert not edit.removed or not edit.inserted or edit.removed[-1] != edit.inserted[-1]


def brute_force_leftmost(sequence: str, whole: str, size: int) -> int:
    """The first place where taking `size` bases out of (or, negative, putting into) sequence makes whole."""
    if size > 0:
        return next(i for i in range(len(sequence)) if sequence[:i] + sequence[i + size :] == whole)
    return next(i for i in range(len(whole)) if whole[:i] + whole[i - size :] == sequence)


@given(start=st.integers(1, 60), size=st.integers(-4, 4).filter(bool), new=st.text(letters, min_size=4, max_size=4))
@settings(max_examples=150, deadline=None)
def test_indels_go_as_far_left_as_they_can(repeats, start, size, new):
    genome, sequence = repeats
    removed, inserted = (sequence[start : start + size], "") if size > 0 else ("", new[:-size])
    whole = applied(sequence, start, removed, inserted)
    base = sequence[start - 1]
    edit = normalise("c", start, base + removed, base + inserted, genome)
    assert edit.start == brute_force_leftmost(sequence, whole, size)


def test_unknown_bases_stop_the_shift(repeats):
    genome, sequence = repeats
    last = len(sequence)
    assert normalise("c", last - 1, "AA", "A", genome) == Edit(sequence.index("N") + 2, "A", "")


def test_a_shift_goes_over_many_blocks_and_to_the_contigs_start(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", {"c": "CA" * 700 + "G"}))
    assert normalise("c", 1399, "CAG", "CACAG", genome) == Edit(0, "", "CA")
    assert normalise("c", 1397, "CACA", "CA", genome).anchor == 0


def test_like_spliceai_an_indel_stays_where_it_is_written():
    assert trimmed(11, "CAA", "CA", left_first=True) == Edit(12, "A", "")
    assert trimmed(11, "CAA", "CA") == Edit(11, "A", "")


@pytest.mark.parametrize(
    ("pos", "ref", "alt", "code"),
    [
        (1, "A", ".", "missing"), (1, "A", "*", "star"), (1, "A", "<DEL>", "symbolic"), (1, "A", "A[c:5[", "symbolic"),
        (1, "A", ".A", "symbolic"), (1, "A", "R", "iupac"), (1, "N", "A", "iupac"), (0, "A", "C", "beyond_contig"),
        (87, "A", "C", None), (88, "A", "C", "beyond_contig"), (86, "AAAA", "A", "beyond_contig"), (1, "C", "A", "ref_mismatch"),
        (81, "G", "A", "ref_mismatch"), (1, "a", "c", None), (1, "A", "C" * 9, "too_long"), (1, "ACACACACA", "A", "too_long"),
        (1, "A", "A", None),
    ],
)  # fmt: skip
def test_reason_codes(repeats, pos, ref, alt, code):
    assert len(repeats[1]) == 87
    assert reason("c", pos, ref, alt, repeats[0], 8) == code
    assert code is None or code in REASONS


def test_unknown_contig(repeats):
    assert reason(None, 1, "A", "C", repeats[0], 8) == "unknown_contig"


@given(removed=st.text(letters, max_size=6), inserted=st.text(letters, max_size=6))
@settings(max_examples=200, deadline=None)
def test_columns_need_the_fewest_changes(removed, inserted):
    i, j = Edit(0, removed, inserted).pairs
    assert (np.diff(i) > 0).all()
    assert (np.diff(j) > 0).all()
    if len(removed) == len(inserted):
        assert i.tolist() == j.tolist() == list(range(len(removed)))
        return

    def distance(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))

    swaps = sum(removed[a] != inserted[b] for a, b in zip(i, j, strict=True))
    if removed and inserted:
        assert swaps + len(removed) + len(inserted) - 2 * len(i) == distance(removed, inserted)


def test_a_base_that_stays_inside_a_complex_allele_is_known():
    i, j = Edit(0, "CAGTTT", "TAGTT").pairs
    assert {(1, 1), (2, 2)} <= set(zip(i.tolist(), j.tolist(), strict=True))


def test_windows_and_anchors():
    assert Edit(10, "A", "C").window(5, 100) == (5, 16)
    assert Edit(10, "", "C").window(5, 100) == (4, 15)
    assert Edit(10, "ACG", "").window(5, 100) == (4, 18)
    assert Edit(0, "", "C").window(5, 100) == (0, 6)
    assert Edit(98, "AC", "").window(5, 100) == (92, 100)
