"""Figures of the evaluation page as inline SVG: text stays text, colours are the page's CSS variables.

matplotlib writes colours as numbers; each colour here is a stand-in that as_svg() turns into a variable of the
page, so that one picture serves light and dark.
"""

import io
import re
from html import escape

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

from libmeta.truth import SITES

INK, FAINT, BASE, META, GOOD, BAD = "#010203", "#010204", "#010205", "#010206", "#010207", "#010208"
PAPER = "#010209"
_VARIABLES = {INK: "ink", FAINT: "faint", BASE: "base", META: "meta", GOOD: "good", BAD: "bad", PAPER: "paper"}
LOOK = {"base": (BASE, "--", "base", "s"), "meta": (META, "-", "refined", "o")}
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "ms-eval", "font.size": 10, "font.family": "sans-serif",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT,
    "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.titleweight": "bold",
    "legend.frameon": False, "axes.titlelocation": "left", "xtick.major.size": 3, "ytick.major.size": 3,
}  # fmt: skip
VERDICT_COLOURS = {"above": GOOD, "below": BAD}


def _figure(width: float, height: float, panels: int = 1, **options) -> tuple[Figure, list]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, **options)[0]
    return figure, list(axes)


def as_svg(figure: Figure, label: str) -> str:
    """The figure as an <svg> element that scales with the page; label is read aloud in its place."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"(font: [^;\"]*?)'[^;\"]*(?=[;\"])", r"\1system-ui, sans-serif", text)
    for stand_in, name in _VARIABLES.items():
        text = text.replace(stand_in, f"var(--{name})")
    told = f'role="img" aria-label="{escape(label)}"'
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', lambda _: told, text, count=1)


def drawn(function):
    """Draw with the page's style, whatever matplotlib's own settings are."""

    def styled(*arguments):
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}):
            return function(*arguments)

    styled.__doc__ = function.__doc__
    return styled


@drawn
def precision_recall(metrics: dict) -> str:
    """Precision-recall curves of both classes; a mark where the score is 0.5."""
    figure, axes = _figure(10.4, 3.5, 2, sharey=True)
    for axis, site in zip(axes, SITES, strict=True):
        for model in reversed(metrics["models"]):
            colour, dashes, name, mark = LOOK[model]
            drawn = metrics["curves"].get(site, {}).get(model)
            if not drawn:
                continue
            entry = metrics["overall"][site][model]
            found = drawn["precision_recall"]
            axis.plot(
                found["recall"],
                found["precision"],
                dashes,
                color=colour,
                lw=2,
                label=f"{name}, AP {entry['ap']:.4f}",
            )
            point = entry["threshold_0.5"]
            if point["precision"] is not None:
                axis.plot([point["recall"]], [point["precision"]], mark, color=colour, ms=6, clip_on=False)
        axis.set(title=site, xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="lower left")
    axes[0].set_ylabel("precision")
    return as_svg(figure, "Precision-recall curves")


@drawn
def reliability(metrics: dict) -> str:
    """Share of true sites against mean score."""
    figure, axes = _figure(10.4, 3.5, 2, sharey=True)
    for axis, site in zip(axes, SITES, strict=True):
        axis.plot([0, 1], [0, 1], color=FAINT, lw=1)
        for model in reversed(metrics["models"]):
            colour, dashes, name, mark = LOOK[model]
            bins = metrics["curves"].get(site, {}).get(model, {}).get("reliability", [])
            x, y = [b["mean_score"] for b in bins], [b["share"] for b in bins]
            axis.plot(x, y, dashes, color=colour, marker=mark, ms=4, lw=1.5, label=name, clip_on=False)
        axis.set(title=site, xlabel="mean score", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_ylabel("share of true sites")
    axes[0].legend(loc="upper left")
    return as_svg(figure, "Reliability curves")


@drawn
def site_scores(metrics: dict) -> str:
    """Histogram of the scores of true sites."""
    figure, axes = _figure(10.4, 3.0, 2)
    for axis, site in zip(axes, SITES, strict=True):
        for model in reversed(metrics["models"]):
            colour, dashes, name, _ = LOOK[model]
            counts = metrics["curves"].get(site, {}).get(model, {}).get("site_scores", [])
            edges = [i / max(1, len(counts)) for i in range(len(counts) + 1)]
            if counts:
                axis.stairs(counts, edges, color=colour, ls=dashes, lw=2, label=name)
        axis.set(title=f"true {site}s", xlabel="score", xlim=(0, 1))
        axis.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes[0].set_ylabel("sites")
    axes[0].legend(loc="upper left")
    return as_svg(figure, "Scores of true sites")


@drawn
def forest(metrics: dict) -> str:
    """Differences of AP, refined minus base, with 95 % intervals, by stratum and class; '' where there is
    none.
    """
    rows = []
    for stratum in [metrics["overall"], *metrics["strata"]]:
        for site in (*SITES, "macro") if stratum["by"] == "overall" else SITES:
            change = stratum[site].get("difference")
            if change:
                rows.append((f"{stratum['name']}, {site}", change))
    if not rows:
        return ""
    figure, (axis,) = _figure(10.4, 0.9 + 0.27 * len(rows))
    axis.axvline(0, color=FAINT, lw=1.5)
    for y, (_, change) in enumerate(rows):
        colour = VERDICT_COLOURS.get(change["verdict"], INK)
        mark = {"above": ">", "below": "<"}.get(change["verdict"], "o")
        if change["interval"]:
            axis.plot(change["interval"], [y, y], color=colour, lw=2)
        axis.plot([change["ap"]], [y], mark, color=colour, ms=6, mfc=colour if change["interval"] else "none")
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.set(ylim=(len(rows) - 0.4, -0.6), xlabel="AP refined minus AP base (line: 95 % interval over genes)")
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    return as_svg(figure, "Differences of average precision by stratum")


@drawn
def locus(window: dict) -> str:
    """Donor sticks up, acceptor sticks down, one track per model; annotated sites and genes below.

    window: start, end (0-based half-open), tracks {model: [(pos, donor, acceptor), ...]}, sites [(pos, site,
    strand, masked)], genes [(start, end, name, strand)], mark: a position to point out, or None.
    """
    tracks, genes = window["tracks"], window["genes"]
    heights = [2.2] * len(tracks) + [0.75 + 0.24 * min(len(genes), 4)]
    figure = Figure(figsize=(10.4, 0.55 + 0.62 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(tracks) + 1, 1, sharex=True, height_ratios=heights)
    for axis, (model, peaks) in zip(axes, tracks.items(), strict=False):
        colour, _, name, _ = LOOK[model]
        axis.axhline(0, color=FAINT, lw=1)
        for pos, donor, acceptor in peaks:
            axis.vlines(pos + 1, -acceptor, donor, color=colour, lw=2.2)
        if window["mark"] is not None:
            axis.axvline(window["mark"] + 1, color=FAINT, lw=7, alpha=0.45, zorder=0)
        axis.set(ylim=(-1.08, 1.08), ylabel=name)
        axis.set_yticks([-1, -0.5, 0, 0.5, 1], ["1", "", "0", "", "1"])
        for y, text in ((0.9, "donor"), (-0.9, "acceptor")):
            axis.text(0.004, y, text, transform=axis.get_yaxis_transform(), va="center", fontsize=8.5, alpha=0.75)
    _annotation(axes[-1], window)
    axes[-1].set_xlim(window["start"] + 0.5, window["end"] + 0.5)
    axes[-1].xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
    axes[-1].xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    return as_svg(figure, window["title"])


def _annotation(axis, window: dict) -> None:
    """Sites as triangles (up donor, down acceptor; hollow where masked), genes as bars with their names."""
    for pos, site, _, masked in window["sites"]:
        mark = "^" if site == "donor" else "v"
        axis.plot([pos + 1], [0], mark, color=INK, ms=6.5, mfc="none" if masked else INK, clip_on=False)
    for i, (start, end, name, strand) in enumerate(window["genes"][:4]):
        low, high = max(start + 1, window["start"]), min(end, window["end"])
        axis.plot([low, high], [-1.0 - i] * 2, color=INK, lw=3, solid_capstyle="butt", alpha=0.45)
        arrow = "→" if strand == "+" else "←"
        axis.annotate(
            f"{name} {arrow}",
            (max(low, window["start"]), -1.0 - i),
            (3, 2),
            textcoords="offset points",
            fontsize=8.5,
        )
    axis.set(ylim=(-0.9 - max(1, min(len(window["genes"]), 4)), 0.7))
    axis.set_yticks([0], ["sites"])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
