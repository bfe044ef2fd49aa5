"""A transcript along an axis: exons as numbered boxes, introns as a line that points in its direction."""

import numpy as np
from matplotlib.patches import Rectangle

from libmeta.gene_index import Transcript

MIDDLE, HALF = 0.36, 0.22  # of an axis from 0 to 1; sites stand above


def draw(
    axis, transcript: Transcript, start: int, end: int, zero: int, inches: float, line: str, box: str, text: str
) -> None:
    """Draw the bases [start, end) (0-based); base p stands at x = p - zero. inches: width of the axis; line, box, text:
    colours."""
    exons = transcript.exons
    low, high = max(int(exons[0, 0]), start), min(int(exons[-1, 1]), end)
    if low >= high:
        return
    axis.plot([low - zero - 0.5, high - zero - 0.5], [MIDDLE, MIDDLE], color=line, lw=0.9, zorder=1)
    share = (high - low) / (end - start)
    steps = np.linspace(low - zero, high - zero, max(int(inches * share), 2) + 1)[1:-1]
    mark = ">" if transcript.strand == "+" else "<"
    axis.plot(steps, np.full(len(steps), MIDDLE), mark, color=line, ms=3.5, mew=0, ls="", zorder=1)
    for i, (first, last) in enumerate(exons.tolist()):
        left, right = max(first, start), min(last, end)
        if left >= right:
            continue
        axis.add_patch(Rectangle((left - zero - 0.5, MIDDLE - HALF), right - left, 2 * HALF, color=box, lw=0, zorder=2))
        number = i + 1 if transcript.strand == "+" else len(exons) - i
        room = (right - left) / (end - start) * inches
        if room > 0.2:
            told = f"exon {number}" if room >= 0.5 else f"{number}"
            middle = (left + right - 1) / 2 - zero
            axis.text(middle, MIDDLE - 0.015, told, ha="center", va="center", fontsize=7, color=text, zorder=3)


def sites(axis, donors: np.ndarray, acceptors: np.ndarray, colour: str) -> None:
    """Annotated sites above the transcript, at these x: donors point up, acceptors down."""
    for at, mark in ((donors, "^"), (acceptors, "v")):
        axis.plot(at, np.full(len(at), 0.86), mark, color=colour, ms=4.5, mew=0, ls="", clip_on=False, zorder=3)
