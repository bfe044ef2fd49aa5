"""Picture of a saturation: base by base where they can be told apart, beyond that the strongest gain and loss."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from libmeta import transcript_track
from libmeta.delta import KINDS
from libmeta.delta_rows import CALLED
from libmeta.errors import USAGE, MetaError
from libmeta.genome import decode
from libmeta.saturation_map import Panel, SaturationMap
from libmeta.streams import atomic

ENDINGS = (".png", ".svg", ".pdf")
BASES_PER_LINE = 110
MOST_BASES = 1_200  # more than so many are drawn as bars
MOST_LINES = 5  # of bars
BARS_PER_LINE = 900
MOST_PANELS = 4  # genes
WIDTH, LEFT, RIGHT = 14.0, 0.75, 0.45  # inches
TRACK, GAP, FOOT = 0.34, 0.06, 0.38  # of one line: genes above, air, coordinates below
HEAD, TITLE = 0.78, 0.4
BAR_HEIGHT = 1.1
INK, SOFT, FAINT, REF, ABSENT = "#1c2127", "#5b6570", "#c3c9d0", "#d9dde1", "#f1f2f4"
BOX, GAIN, LOSS = "#3b4956", "#b2182b", "#2166ac"
MAP = LinearSegmentedColormap.from_list(
    "delta", [(0, LOSS), (0.25, "#67a9cf"), (0.5, "#ffffff"), (0.75, "#ef8a62"), (1, GAIN)]
).with_extremes(bad=ABSENT)  # alleles that there are not: an indel that has another spelling
TOLD = 0.2  # cells from here on say which kind of site
_STYLE = {"font.size": 9, "font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "ms-delta",
          "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": SOFT,
          "ytick.color": INK}  # fmt: skip


def check_ending(path: str) -> None:
    """MetaError where the picture's ending is unknown."""
    if Path(path).suffix not in ENDINGS:
        raise MetaError(f"unknown ending, --picture {path}; use one of {', '.join(ENDINGS)}", USAGE)


def draw(found: SaturationMap, model: str, path: str) -> None:
    """Write the picture; model: the base model's name. The file appears whole or not at all."""
    panels = [(p, m) for p in found.panels[:MOST_PANELS] for m in p.value]
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}):
        page = _Page(found, panels, model)
        with atomic(path) as temporary:
            page.figure.savefig(
                temporary, format=Path(path).suffix[1:], dpi=150, facecolor="white", metadata=_metadata(path)
            )


def _metadata(path: str) -> dict:
    """No time stamps and no versions, so that the same run gives the same bytes."""
    return {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[Path(path).suffix]


class _Page:
    """Lines from the top down, measured in inches."""

    def __init__(self, found: SaturationMap, panels: list[tuple[Panel, str]], model: str):
        self.found, self.size = found, len(found.codes)
        self.bars = self.size > MOST_BASES
        if self.bars:
            lines = min(MOST_LINES, -(-self.size // 2_000))
            self.per_line = -(-self.size // lines)
            self.height = BAR_HEIGHT
        else:
            self.per_line = -(-self.size // -(-self.size // BASES_PER_LINE))
            self.cell = min((WIDTH - LEFT - RIGHT) / self.per_line, 0.22)
            self.height = max(self.cell, 0.13) * len(found.labels)
        self.starts = list(range(0, self.size, self.per_line))
        line = TRACK + GAP + self.height + FOOT
        self.total = HEAD + sum(TITLE + line * len(self.starts) for _ in panels) + 0.1
        self.figure = Figure(figsize=(WIDTH, self.total))
        self.y = self.total
        self._head(model)
        for panel, name in panels:
            self._title(panel, name)
            for start in self.starts:
                self._line(panel, name, start)

    def _axes(self, height: float, width: float | None = None, left: float = LEFT):
        """Axes of this many inches below the last."""
        self.y -= height
        width = WIDTH - LEFT - RIGHT if width is None else width
        return self.figure.add_axes(
            [left / WIDTH, self.y / self.total, width / WIDTH, height / self.total], frameon=False
        )

    def _text(self, x: float, down: float, text: str, **look) -> None:
        self.figure.text(x / WIDTH, (self.y - down) / self.total, text, va="center", parse_math=False, **look)

    def _head(self, model: str) -> None:
        region = self.found.region
        title = f"{region.chrom}:{region.start + 1:,}-{region.end:,}"
        what, longest = "every SNV", self.found.labels[-1]
        if longest.startswith("-"):
            what += f", every insertion of one base (before this base) and deletion of up to {longest[1:]} (from it on)"
        which = "masked" if self.found.masked else "raw"
        self._text(LEFT, 0.22, title, fontsize=13, weight="bold")
        told = f"strongest {which} delta score: {what}; {model}; letters as in VCF (+ strand)"
        if len(self.found.panels) > MOST_PANELS:
            told += f"; {MOST_PANELS} of {len(self.found.panels)} genes drawn"
        self._text(LEFT, 0.56, told, fontsize=9, color=SOFT)
        self._key()
        self.y -= HEAD

    def _key(self) -> None:
        width, left = 2.2, WIDTH - RIGHT - 2.9
        axis = self.figure.add_axes([left / WIDTH, (self.y - 0.3) / self.total, width / WIDTH, 0.14 / self.total])
        axis.imshow(np.linspace(-1, 1, 256)[None], aspect="auto", cmap=MAP, vmin=-1, vmax=1, extent=(-1, 1, 0, 1))
        axis.set_yticks([])
        axis.set_xticks([-1, -0.5, -0.2, 0, 0.2, 0.5, 1], ["1", "0.5", "0.2", "0", "0.2", "0.5", "1"], fontsize=7)
        axis.tick_params(length=2, pad=1)
        axis.text(-1.05, 0.5, "loss", ha="right", va="center", fontsize=9, color=LOSS, weight="bold")
        axis.text(1.05, 0.5, "gain", ha="left", va="center", fontsize=9, color=GAIN, weight="bold")

    def _title(self, panel: Panel, name: str) -> None:
        arrow = "→" if panel.strand == "+" else "←"
        told = (
            f"{panel.gene.name or panel.gene.id} {arrow}" if panel.gene else f"no gene, {panel.strand} strand {arrow}"
        )
        self._text(LEFT, 0.2, told, fontsize=11, weight="bold")
        more = [panel.transcript.id] if panel.transcript else []
        more += [CALLED[name]] if len(panel.value) > 1 else []
        more += ["▲ annotated donor  ▼ acceptor"] if panel.transcript else []
        if not self.bars:
            more.append(f"grey: REF;  d, a: it is a donor, an acceptor (from {TOLD})")
        self._text(LEFT + 0.16 + 0.105 * len(told), 0.2, "     ".join(more), fontsize=9, color=SOFT)
        self.y -= TITLE

    def _line(self, panel: Panel, name: str, start: int) -> None:
        end = min(start + self.per_line, self.size)
        width = (WIDTH - LEFT - RIGHT) * (end - start) / self.per_line
        if not self.bars:
            width = self.cell * (end - start)
        track = self._axes(TRACK, width)
        self._genes(track, panel, start, end)
        self.y -= GAP
        axis = self._axes(self.height, width)
        (self._draw_bars if self.bars else self._draw_cells)(axis, panel, name, start, end)
        axis.set_xlim(start - 0.5, end - 0.5)
        self._coordinates(axis, start, end, width)
        self.y -= FOOT

    def _coordinates(self, axis, start: int, end: int, width: float) -> None:
        """Round positions, 1-based, far enough apart to be read."""
        first, last = self.found.region.start + start + 1, self.found.region.start + end
        step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if s * 10**e * width >= 0.95 * (end - start))
        places = np.arange(-(-first // step) * step, last + 1, step)
        if not len(places):
            places = np.array([first])
        axis.set_xticks(places - self.found.region.start - 1, [f"{p:,}" for p in places.tolist()], fontsize=8)
        axis.tick_params(axis="x", length=3, pad=2, color=SOFT)

    def _genes(self, axis, panel: Panel, start: int, end: int) -> None:
        axis.set(xlim=(start - 0.5, end - 0.5), ylim=(0, 1))
        axis.set_axis_off()
        if panel.transcript:
            zero = self.found.region.start
            inches = (WIDTH - LEFT - RIGHT) * (end - start) / self.per_line
            transcript_track.draw(axis, panel.transcript, zero + start, zero + end, zero, inches, SOFT, BOX, "white")
        places = [start + np.flatnonzero(sites[start:end]) for sites in (panel.donors, panel.acceptors)]
        transcript_track.sites(axis, *places, INK)

    def _draw_cells(self, axis, panel: Panel, name: str, start: int, end: int) -> None:
        value, kind = panel.value[name][:, start:end], panel.kind[name][:, start:end]
        lines = len(panel.labels)
        extent = (start - 0.5, end - 0.5, lines - 0.5, -0.5)
        axis.imshow(value, cmap=MAP, vmin=-1, vmax=1, aspect="auto", interpolation="nearest", extent=extent)
        size = 72 * min(self.cell, self.height / lines)
        own = np.full(value.shape, np.nan)
        codes = self.found.codes[start:end]
        own[codes[codes > 0] - 1, np.flatnonzero(codes)] = 1
        axis.imshow(own, cmap=ListedColormap([REF]), aspect="auto", interpolation="nearest", extent=extent)
        for at, letter in enumerate(decode(codes), start):
            if letter != "N":
                line = panel.labels.index(letter)
                axis.text(at, line, letter, ha="center", va="center_baseline", fontsize=0.72 * size, color=INK)
        for line, at in np.argwhere(np.abs(np.nan_to_num(value)) >= TOLD).tolist():
            dark = abs(value[line, at]) > 0.55
            letter = KINDS[kind[line, at]][0]
            axis.text(start + at, line, letter, ha="center", va="center_baseline", fontsize=0.6 * size,
                      color="white" if dark else INK)  # fmt: skip
        axis.add_patch(Rectangle((start - 0.5, -0.5), end - start, lines, fill=False, ec=FAINT, lw=0.8, clip_on=False))
        axis.set_yticks(range(lines), panel.labels, fontsize=min(8, 0.9 * size))
        axis.tick_params(axis="y", length=0, pad=3)
        for edge in (3.5, 7.5):
            if edge < lines - 0.5:
                axis.axhline(edge, color=SOFT, lw=0.8)

    def _draw_bars(self, axis, panel: Panel, name: str, start: int, end: int) -> None:
        """The strongest gain and the strongest loss of every few bases."""
        value = panel.value[name][:, start:end]
        size = -(-(self.per_line) // BARS_PER_LINE)
        value = np.pad(value, ((0, 0), (0, -value.shape[1] % size)), constant_values=np.nan)
        value = np.nan_to_num(value).reshape(len(value), -1, size)
        middle = start + size * np.arange(value.shape[1]) + (size - 1) / 2
        for heights, colour in ((value.max(axis=(0, 2)), GAIN), (value.min(axis=(0, 2)), LOSS)):
            axis.bar(middle, heights, width=size, color=colour, lw=0)
        for y in (-0.5, 0.5, -1, 1):
            axis.axhline(y, color=FAINT, lw=0.6, zorder=0)
        axis.axhline(0, color=SOFT, lw=0.6)
        axis.set(ylim=(-1.05, 1.05))
        axis.set_yticks([-1, -0.5, 0, 0.5, 1], ["1", "0.5", "0", "0.5", "1"], fontsize=7)
        axis.tick_params(axis="y", length=0, pad=3)
        axis.text(-0.038, 0.77, "gain", transform=axis.transAxes, rotation=90, va="center", color=GAIN, fontsize=8)
        axis.text(-0.038, 0.23, "loss", transform=axis.transAxes, rotation=90, va="center", color=LOSS, fontsize=8)
