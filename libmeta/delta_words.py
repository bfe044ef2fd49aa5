"""What a variant changes, in words: which kind of site, where on its transcript, from which score to which.

No consequence is called: that a donor is lost does not say whether the exon is skipped.
"""

import numpy as np

from libmeta.alleles import Edit
from libmeta.delta import KINDS, Effect
from libmeta.gene_index import GeneIndex, Transcript
from libmeta.introns import ACCEPTOR, DONOR

NAMES = {"ag": "acceptor gain", "al": "acceptor loss", "dg": "donor gain", "dl": "donor loss"}
WORTH = 0.05  # a smaller delta score is not told


def place(pos: int, transcript: Transcript) -> str:
    """Where a base (0-based) lies on a transcript, in its direction: "15 bp into intron 12", "the donor of exon 12"."""
    exons, plus = transcript.exons, transcript.strand == "+"
    count = len(exons)
    # mirrored, so that the transcript runs to the right: exon k is row k - 1
    runs = exons if plus else -exons[::-1, ::-1]
    at = pos if plus else -pos - 1
    k = int(np.searchsorted(runs[:, 0], at, side="right"))
    if k == 0:
        return f"{runs[0, 0] - at:,} bp before the first exon"
    start, end = (int(x) for x in runs[k - 1])
    if at < end:
        return _in_exon(k, count, at - start, end - 1 - at)
    if k == count:
        return f"{at - end + 1:,} bp behind the last exon"
    into, left = at - end + 1, int(runs[k, 0]) - at
    return f"{into:,} bp into intron {k}" if into <= left else f"{left:,} bp before exon {k + 1}"


def _in_exon(k: int, count: int, behind: int, ahead: int) -> str:
    """behind, ahead: bases of the exon on either side."""
    if ahead == 0 and k < count:
        return f"the donor of exon {k}"
    if behind == 0 and k > 1:
        return f"the acceptor of exon {k}"
    edge = behind <= ahead
    near = f"{behind:,} bp from its start" if edge else f"{ahead:,} bp from its end"
    return f"in exon {k}, {near}"


def sort_of(edit: Edit) -> str:
    """SNV, deletion of 3 bp, ..."""
    removed, inserted = len(edit.removed), len(edit.inserted)
    if edit.removed == edit.inserted:
        return "no change"
    if removed == inserted:
        return "SNV" if removed == 1 else f"{removed:,} bp replaced"
    if not inserted:
        return f"deletion of {removed:,} bp"
    return f"insertion of {inserted:,} bp" if not removed else f"{removed:,} bp replaced by {inserted:,}"


def changes(
    effect: Effect, edit: Edit, contig: str, strand: str, transcript: Transcript | None, genes: GeneIndex | None
) -> list[str]:
    """The changes of WORTH or more, largest first; where there are none, the largest, and that it is small.

    A raw change that the mask takes away says so; a smaller one that it leaves at another base follows.
    """
    told = []
    for i in np.argsort(-effect.score, kind="stable").tolist():
        mask = effect.masked
        hidden = mask is not None and (mask.pos[i], mask.offset[i]) != (effect.pos[i], effect.offset[i])
        if effect.score[i] >= WORTH:
            text = _change(effect, i, edit, contig, strand, transcript, genes)
            why = "gain of an annotated site" if KINDS[i][1] == "g" else "loss at no annotated site"
            told.append(f"{text} (masked: {why})" if hidden else text)
        if hidden and mask.score[i] >= WORTH:
            told.append(f"under the mask, {_change(mask, i, edit, contig, strand, transcript, genes)}")
    if not told:
        i = int(effect.score.argmax())
        if not effect.score[i]:
            return ["no change at all"]
        return [
            f"no change of {WORTH} or more; the largest: {_change(effect, i, edit, contig, strand, transcript, genes)}"
        ]
    return told


def _change(effect: Effect, i: int, edit: Edit, contig: str, strand: str, transcript, genes) -> str:
    pos, offset = int(effect.pos[i]), int(effect.offset[i])
    where, alt = f"{contig}:{pos + 1:,}", f"{effect.alt[i]:.2f}"
    if offset:
        return f"{NAMES[KINDS[i]]} at inserted base {offset} behind {where}; new, {alt}"
    if transcript is not None:
        where += f", {_site(pos, KINDS[i], contig, strand, transcript, genes)}"
    if np.isnan(effect.alt[i]):  # the masked ones of an earlier table, which does not have them
        return f"{NAMES[KINDS[i]]} at {where}; by {effect.score[i]:.2f}"
    gone = edit.start <= pos < edit.start + len(edit.removed) and pos - edit.start not in edit.pairs[0]
    return f"{NAMES[KINDS[i]]} at {where}; {effect.ref[i]:.2f} → {alt}{', the base is deleted' if gone else ''}"


def _site(pos: int, kind: str, contig: str, strand: str, transcript: Transcript, genes: GeneIndex) -> str:
    """Where, and whether another transcript has such a site there."""
    told = place(pos, transcript)
    site, line = ("donor", DONOR) if kind[0] == "d" else ("acceptor", ACCEPTOR)
    if not told.startswith(f"the {site}") and genes.annotated(contig, strand, pos, pos + 1)[line, 0]:
        told += f", the {site} of another transcript"
    return told
