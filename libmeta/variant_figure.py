"""REF and ALT scores along the sequence around one variant, as inline SVG for a page (see libmeta.figures)."""

import re

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from libmeta import transcript_track
from libmeta.alleles import Edit
from libmeta.delta import KINDS, Row
from libmeta.delta_rows import CALLED, effects, scores
from libmeta.delta_words import NAMES, WORTH
from libmeta.figures import BAD, BASE, FAINT, INK, META, PAPER, as_svg, drawn
from libmeta.gene_index import Transcript
from libmeta.introns import ACCEPTOR, DONOR
from libmeta.variant_windows import Aligned

SHOWN = 0.02  # lower scores have no stick
NARROWEST, MARGIN = 240, 50  # bp
WIDTH = 10.4  # inches


@drawn
def along(row: Row, edit: Edit, transcript: Transcript | None, annotated: np.ndarray, title: str) -> str:
    """Donor scores up, acceptor scores down: REF wide, ALT narrow on top; the band is the variant.

    annotated: bool (2, n), donors and acceptors of the annotation over the window of the row's scores. title: what is
    read aloud in place of the picture.
    """
    models = scores(row)
    first = next(iter(models.values()))
    start, end = _shown(row, edit, first)
    tracks = [1.45] * len(models) + [0.42]
    figure = Figure(figsize=(WIDTH, 0.4 + sum(tracks)), layout="constrained")
    axes = figure.subplots(len(tracks), 1, sharex=True, height_ratios=tracks)
    for axis, (model, found) in zip(axes, models.items(), strict=False):
        _sticks(axis, found)
        _names(axis, row, model, found, start, end)
        left, right = edit.start + 0.5, edit.start + max(len(edit.removed), 0) + 0.5
        if not edit.removed:
            left, right = left - 0.15, left + 0.15
        axis.axvspan(left, right, color=BAD, alpha=0.3, lw=0, zorder=0)
        axis.axhline(0, color=FAINT, lw=1)
        axis.set(ylim=(-1.28, 1.28), ylabel=CALLED[model])
        axis.set_yticks([-1, -0.5, 0, 0.5, 1], ["1", "", "0", "", "1"])
        for y, text in ((1.1, "donor"), (-1.1, "acceptor")):
            axis.text(0.004, y, text, transform=axis.get_yaxis_transform(), va="center", fontsize=8.5, alpha=0.75)
    _track(axes[-1], transcript, row.strand, first, annotated, start, end)
    axes[-1].set_xlim(start + 0.5, end + 0.5)
    axes[-1].xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
    axes[-1].xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    # names of single elements are of no use in a page and would stand many times in it
    return re.sub(r' id="[A-Za-z]\w*_\d+"', "", as_svg(figure, title))


def _shown(row: Row, edit: Edit, found: Aligned) -> tuple[int, int]:
    """[start, end) around the variant and all that it changes, inside the window of scores."""
    at = [edit.anchor, edit.end]
    for effect in effects(row).values():
        for one in (effect, effect.masked):
            if one is not None:
                at += one.pos[one.score >= WORTH].tolist()
    low, high = min(at) - MARGIN, max(at) + MARGIN
    more = max(NARROWEST - (high - low), 0) // 2
    return max(low - more, found.start), min(high + more, found.start + len(found.ref))


def _sticks(axis, found: Aligned) -> None:
    pos = found.start + 1 + np.arange(len(found.ref))
    # inserted bases stand between the two bases that they come between
    runs = np.array([found.offset[found.after == a].max() for a in found.after], float)
    new = found.after + 1 + found.offset / (runs + 1) if len(runs) else np.zeros(0)
    for site, sign in ((DONOR, 1), (ACCEPTOR, -1)):
        for x, height, colour, width in (
            (pos, found.ref[:, site], BASE, 6), (pos, found.alt[:, site], META, 2.2), (new, found.inserted[:, site], META, 2.2),
        ):  # fmt: skip
            tall = height >= SHOWN
            if tall.any():
                alpha = 0.45 if colour == BASE else 1
                axis.vlines(x[tall], 0, sign * height[tall], color=colour, lw=width, alpha=alpha)


def _names(axis, row: Row, model: str, found: Aligned, start: int, end: int) -> None:
    """The changes, at their sticks; one that is close to a larger one has its name in the text alone."""
    effect, taken = effects(row)[model], []
    for i in np.argsort(-effect.score, kind="stable").tolist():
        pos, up = int(effect.pos[i]), KINDS[i][0] == "d"
        near = any(abs(pos - other) < 0.085 * (end - start) and up == side for other, side in taken)
        if effect.score[i] < WORTH or near:
            continue
        taken.append((pos, up))
        height = np.nanmax([effect.ref[i], effect.alt[i]])
        side = (
            "right" if pos > end - 0.12 * (end - start) else "left" if pos < start + 0.12 * (end - start) else "center"
        )
        text = f"{NAMES[KINDS[i]].split()[1]} {effect.score[i]:.2f}"
        axis.annotate(text, (pos + 1, height if up else -height), (0, 3 if up else -3), textcoords="offset points",
                      ha=side, va="bottom" if up else "top", fontsize=8.5, fontweight="bold")  # fmt: skip


def _track(axis, transcript, strand: str, found: Aligned, annotated: np.ndarray, start: int, end: int) -> None:
    axis.set(ylim=(-0.1, 1.1))
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    if transcript is not None:
        transcript_track.draw(axis, transcript, start, end, -1, WIDTH - 0.8, BASE, INK, PAPER)
    else:
        axis.text(
            0.5, 0.4, f"no gene, {strand} strand", transform=axis.transAxes, ha="center", fontsize=8.5, alpha=0.75
        )
    places = [found.start + np.flatnonzero(sites) for sites in annotated]
    transcript_track.sites(axis, *[p[(p >= start) & (p < end)] + 1 for p in places], INK)
