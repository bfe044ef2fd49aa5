"""Windows of the genome for pictures: those asked for, or examples of where refined and base scores differ
most.
"""

import numpy as np

from libmeta.errors import USAGE, MetaError
from libmeta.evaluate import Evaluation
from libmeta.regions import Region, parse_region
from libmeta.truth import MASKED, NEGATIVE, SITES, Truth

WIDEST = 2_000_000  # bp
MARGIN = 2_000  # bp on each side of an example
NOTABLE = 0.05  # a smaller change of a score is no example


def parse_locus(text: str, truth: Truth) -> Region:
    """A window as on the command line, chr15:48408000-48415000, 2 Mb at most; with :+ or :- one strand."""
    region = parse_region(text, truth.contigs)
    if region.end - region.start > WIDEST:
        raise MetaError(f"too wide to draw, --locus {text}; name at most {WIDEST // 1_000_000} Mb", USAGE)
    return region


def examples(evaluation: Evaluation) -> list[tuple[Region, str, int]]:
    """Up to 3 windows with a title and the position meant: the site that gains most, the site that loses
    most, the false call that falls most.
    """
    if not evaluation.compared:
        return []
    found = []
    for pick, told in ((np.argmax, "largest gain of a site"), (np.argmin, "largest loss of a site")):
        best = _changed_site(evaluation, pick)
        if best and (best[0] > 0) == (pick is np.argmax):
            found.append((*best, told))
    if best := _fallen_call(evaluation):
        found.append((*best, "largest fall of a false call"))
    windows = []
    for _, site, cell, pos, base, meta, told in found:
        chrom, strand = evaluation.truth.cell_name(cell)
        region = Region(chrom, max(0, pos - MARGIN), pos + MARGIN + 1, strand)
        title = f"{told}: {SITES[site]} at {chrom}:{pos + 1:,} ({strand}), base {base:.3f}, refined {meta:.3f}"
        windows.append((region, title, pos))
    return windows


def _changed_site(evaluation: Evaluation, pick) -> tuple | None:
    """(change, class, cell, pos, base, meta) of the site with the largest or smallest change."""
    best = None
    for i in (0, 1):
        card, _, score = evaluation.positives(i)
        seen = evaluation.seen[card]
        if not seen.any():
            continue
        card, score = card[seen], score[:, seen]
        change = score[0] - score[1]
        k = int(pick(change))
        item = (float(change[k]), i, int(evaluation.truth.cell[card[k]]), int(evaluation.truth.pos[card[k]]))
        if abs(change[k]) >= NOTABLE and (best is None or pick([best[0], item[0]]) == 1):
            best = (*item, float(score[1, k]), float(score[0, k]))
    return best


def _fallen_call(evaluation: Evaluation) -> tuple | None:
    """As _changed_site, of positions that are no site of the class."""
    best = None
    for rows in evaluation.peaks or []:
        known = evaluation.truth.pos[evaluation.truth.cards(rows.cell)]
        free = ~np.isin(rows.pos, known)
        for i in (0, 1):
            fall = np.where(free, rows.scores[2 + i] - rows.scores[i], -1)
            k = int(np.argmax(fall))
            if fall[k] >= NOTABLE and (best is None or fall[k] > best[0]):
                item = (float(fall[k]), i, rows.cell, int(rows.pos[k]))
                best = (*item, float(rows.scores[2 + i, k]), float(rows.scores[i, k]))
    return best


def window(evaluation: Evaluation, region: Region, title: str, mark: int | None = None) -> dict:
    """What figures.locus draws of a region."""
    truth = evaluation.truth
    tracks: dict[str, list] = {model: [] for model in reversed(evaluation.models)}
    cells = [truth.cell_of(region.chrom, strand) for strand in region.strands]
    for rows in evaluation.peaks or []:
        if rows.cell not in cells:
            continue
        inside = np.flatnonzero((rows.pos >= region.start) & (rows.pos < region.end))
        for j, model in enumerate(evaluation.models):
            donor, acceptor = rows.scores[2 * j : 2 * j + 2, inside].tolist()
            tracks[model] += zip(rows.pos[inside].tolist(), donor, acceptor, strict=True)
    return {
        "title": title, "start": region.start, "end": region.end, "mark": mark, "tracks": tracks,
        "sites": _sites(truth, cells, region), "genes": _genes(truth, cells, region),
    }  # fmt: skip


def _sites(truth: Truth, cells: list[int], region: Region) -> list[tuple]:
    near = np.isin(truth.cell, cells) & (truth.pos >= region.start) & (truth.pos < region.end)
    found = []
    for card in np.flatnonzero(near):
        strand = truth.cell_name(int(truth.cell[card]))[1]
        for i, site in enumerate(SITES):
            state = truth.state[i, card]
            if state != NEGATIVE:
                found.append((int(truth.pos[card]), site, strand, bool(state == MASKED)))
    return found


def _genes(truth: Truth, cells: list[int], region: Region) -> list[tuple]:
    found = []
    for cell in cells:
        segments = truth.segments.get(cell)
        if segments is None:
            continue
        strand = truth.cell_name(cell)[1]
        near = (segments.edges[:-1] < region.end) & (segments.edges[1:] > region.start) & (segments.gene[:-1] >= 0)
        for number in np.unique(segments.gene[:-1][near]):
            mine = np.flatnonzero(segments.gene == number)
            start, end = int(segments.edges[mine[0]]), int(segments.edges[mine[-1] + 1])
            found.append((start, end, truth.genes[number][0], strand))
    return sorted(found)
