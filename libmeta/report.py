"""One self-contained HTML page of an evaluation: tables, warnings, plots as inline SVG. It opens offline and
asks for nothing.
"""

import json
from html import escape
from importlib.util import find_spec

from libmeta import __version__, loci
from libmeta.errors import MetaError
from libmeta.evaluate import Evaluation
from libmeta.evaluation_table import headline, number, prevalence_line
from libmeta.loci import parse_locus
from libmeta.regions import Region
from libmeta.truth import SITES

__all__ = ["page", "parse_locus", "require_matplotlib"]

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2127; --soft: #5b6570; --faint: #c3c9d0; --line:
  #e3e6ea;
  --box: #f6f7f9; --base: #767d86; --meta: #0067ac; --good: #00795a; --bad: #c04a00; --warn: #fff4dc;
  --warnline: #d99a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e8ec; --soft: #9aa5b1; --faint:
  #48525d;
  --line: #2b323a; --box: #1b2027; --base: #a3abb5; --meta: #5db7f5; --good: #3fc79b; --bad: #ff9355;
  --warn: #2e2610;
  --warnline: #c99a2e; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 70rem; background: var(--paper); color:
  var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .2rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .5rem } h3 {
  font-size: .95rem; margin: 1.4rem 0 .2rem }
p { margin: .4rem 0; max-width: 54rem } .soft, caption { color: var(--soft); font-size: .9rem }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .8rem; margin:
  1.2rem 0 }
.card { background: var(--box); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums } .card i { font-style:
  normal; color: var(--soft) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .86rem; font-variant-numeric:
  tabular-nums; width: 100% }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--faint) }
td { text-align: right; border-bottom: 1px solid var(--line) } th, td { padding: .28rem .5rem; white-space:
  nowrap }
th.l, td.l { text-align: left } tr.first td { border-top: 1px solid var(--faint) }
.above { color: var(--good); font-weight: 600 } .below { color: var(--bad); font-weight: 600 }
.warnings { background: var(--warn); border-left: 4px solid var(--warnline); padding: .6rem 1rem;
  border-radius: .25rem; margin: 1rem 0 }
.warnings ul { margin: .2rem 0; padding-left: 1.2rem }
svg { width: 100%; height: auto; display: block; margin: .4rem 0 } figure { margin: 0 }
details { margin-top: 2.4rem } summary { cursor: pointer; font-weight: 600 }
pre { background: var(--box); padding: .8rem; overflow-x: auto; font-size: .8rem; border-radius: .4rem }
"""


def require_matplotlib(option: str = "--html") -> None:
    """Raise MetaError where matplotlib, an optional extra, is not installed."""
    if find_spec("matplotlib") is None:
        raise MetaError(f"matplotlib is not installed, {option}; pip install 'ms-tools[report]'")


def page(metrics: dict, evaluation: Evaluation, windows: list[Region]) -> str:
    """The page as HTML. metrics: the rounded document; evaluation: with peaks; windows: loci to draw, [] for
    examples.
    """
    require_matplotlib()
    from libmeta import figures

    both = "base" in metrics["models"]
    title = "Refined splice scores" + (" against the base model" if both else "")
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="soft">{_subject(metrics)}</p>',
        _cards(metrics),
        _warnings(metrics["warnings"]),
        f"<h2>Headline</h2>{_headline(metrics, both)}{_headline_notes(metrics, both)}",
    ]
    if both:
        parts += [_strata(metrics), _figure(figures.forest(metrics))]
    parts += [
        f"<h2>Precision and recall</h2>{_figure(figures.precision_recall(metrics))}",
        '<p class="soft">At true prevalence. The mark is the threshold 0.5.</p>',
        f"<h2>Calibration</h2>{_figure(figures.reliability(metrics))}",
        '<p class="soft">On the diagonal, a score is the probability of a site. By weight, so that it holds '
        "for all positions.</p>",
        f"<h2>Scores of true sites</h2>{_figure(figures.site_scores(metrics))}",
        _loci(evaluation, windows, figures),
        _coverage(metrics),
        provenance(metrics["provenance"], "ms-eval"),
    ]
    return whole(title, "\n".join(parts))


def whole(title: str, body: str) -> str:
    """A page of its own from its body, in the style of all our pages. It may load and run nothing, whatever it holds."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>" if svg else ""


def _subject(metrics: dict) -> str:
    model = metrics["model"]
    name = model.get("name") if isinstance(model, dict) else model
    told = [f"Model {escape(str(name))}"] if name else []
    told += [f"recipe {escape(str(metrics['recipe']))}"] if metrics["recipe"] else []
    regions = metrics["counts"]["regions"]
    told += [f"only {escape(', '.join(regions))}"] if regions else []
    return "; ".join([*told, prevalence_line(metrics)]) + "."


def _cards(metrics: dict) -> str:
    cards = []
    for name in (*SITES, "macro"):
        entry = metrics["overall"][name]
        if "meta" not in entry:
            continue
        value, told = number(entry["meta"]["ap"]), f"lift {entry['meta']['lift']:,.0f}"
        if "base" in entry:
            told = f"base {number(entry['base']['ap'])}, {_verdict(entry['difference'])}"
        cards.append(f'<div class="card"><i>AP {name}</i><b>{value}</b><i>{told}</i></div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _verdict(change: dict) -> str:
    kind = change["verdict"]
    return f'<span class="{kind if kind in ("above", "below") else ""}">{kind}</span>'


def _warnings(warnings: list[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(w)}</li>" for w in warnings)
    return f'<div class="warnings" role="note"><strong>Read this first</strong><ul>{items}</ul></div>'


def _headline(metrics: dict, both: bool) -> str:
    head = '<th class="l"></th><th class="l">class</th>' + (
        "<th>base</th><th>refined</th><th>change</th>" if both else "<th>refined</th>"
    )
    rows, last = [], None
    for row in headline(metrics):
        label = "" if row["label"] == last else row["label"]
        last = row["label"]
        cells = [row["base"], row["meta"], row["change"]] if both else [row["meta"]]
        values = "".join(f"<td>{escape(c)}</td>" for c in cells)
        rows.append(
            f'<tr{" class=first" if label else ""}><td class="l">{escape(label)}</td><td '
            f'class="l">{row["class"]}</td>{values}</tr>'
        )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _headline_notes(metrics: dict, both: bool) -> str:
    shares = [(s, metrics["overall"][s].get("prevalence")) for s in SITES]
    told = ", ".join(f"{s} {p:.2e}" for s, p in shares if p)
    text = (
        f"AP is average precision over all positions of the tested genes (prevalence {told}); lift is AP "
        f"divided by prevalence. "
        "Macro is the mean of donor and acceptor. Top-k: of the k best positions, the share that are sites, "
        "k being the number of "
        "true sites. ECE over all positions is small for any model, as nearly all positions are scored near "
        "0: look at that of scores "
        "from 0.01 on too."
    )
    if both:
        text += (
            "</p><p class='soft'>Common operating points: the base model's threshold of 0.5 sets a precision "
            "and a recall. At no less than "
            "that precision, both models are taken at their highest recall and missed sites (FN) are "
            "compared; at no less "
            "than that recall, both with the fewest calls, and false calls (FP) are compared. At the plain "
            "threshold of 0.5 a model "
            "may trade one for the other. Counts are estimates from sampling weights."
        )
    return f'<p class="soft">{text}</p>'


def _strata(metrics: dict) -> str:
    head = "".join(f'<th class="l">{h}</th>' for h in ("stratum", "class"))
    head += "".join(
        f"<th>{h}</th>"
        for h in ("sites", "prevalence", "AP base", "lift", "AP refined", "lift", "change", "95 % interval")
    )
    rows = []
    for stratum in [metrics["overall"], *metrics["strata"]]:
        for k, name in enumerate(SITES):
            first = ' class="first"' if k == 0 else ""
            label = escape(stratum["name"]) if k == 0 else ""
            rows.append(
                f'<tr{first}><td class="l">{label}</td><td class="l">{name}</td>{_stratum_cells(stratum[name])}</tr>'
            )
    text = (
        "Resampling genes (95 % intervals): is the refined model ever below the base? <em>Above</em> and "
        "<em>below</em> where the "
        "interval of the difference excludes zero. A tier is its own sites against all negatives. "
        "Base-uncertain positions are only "
        "those with a highest base score of 0.1 to 0.9: their AP says nothing of the whole, as the "
        "prevalence beside it shows. "
        "Strata are not corrected for their number: of twenty without a true difference, one would be called "
        "by chance."
    )
    return (
        f'<h2>Never below base?</h2><p class="soft">{text}</p><div class="wide"><table><thead><tr>{head}<th '
        f'class="l">verdict</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _stratum_cells(entry: dict) -> str:
    if "difference" not in entry:
        return f"<td>{entry['positives']:,}</td>" + "<td></td>" * 7 + '<td class="l">too few</td>'
    change = entry["difference"]
    span = "[{:+.4f}, {:+.4f}]".format(*change["interval"]) if change["interval"] else "-"
    cells = [f"{entry['positives']:,}", f"{entry['prevalence']:.2e}"]
    for model in ("base", "meta"):
        cells += [number(entry[model]["ap"]), number(entry[model]["lift"], 1)]
    cells += [f"{change['ap']:+.4f}", span]
    return "".join(f"<td>{c}</td>" for c in cells) + f'<td class="l">{_verdict(change)}</td>'


def _loci(evaluation: Evaluation, windows: list[Region], figures) -> str:
    chosen = [(w, f"{w.chrom}:{w.start + 1:,}-{w.end:,}", None) for w in windows] or loci.examples(evaluation)
    if not chosen:
        return ""
    drawn = []
    for region, title, mark in chosen:
        picture = figures.locus(loci.window(evaluation, region, title, mark))
        drawn.append(f"<h3>{escape(title)}</h3>{_figure(picture)}")
    text = (
        "Sticks up are donor scores, down acceptor scores (of 0.02 and more). Triangles are sites of the "
        "labels: up donor, down acceptor, "
        "hollow where masked. " + ("" if windows else "Chosen as extremes: they are not typical.")
    )
    return f'<h2>Loci</h2><p class="soft">{text}</p>{"".join(drawn)}'


def _coverage(metrics: dict) -> str:
    counts = metrics["counts"]
    rows = [(k.replace("_", " "), v) for k, v in counts.items() if isinstance(v, int | float)]
    for site in SITES:
        rows += [(f"{site}s, {k.replace('_', ' ')}", v) for k, v in counts["sites"][site].items()]
    cells = "".join(f'<tr><td class="l">{k}</td><td>{v:,.0f}</td></tr>' for k, v in rows)
    return f"<details><summary>What was scored</summary><table>{cells}</table></details>"


def provenance(chain: list[dict], tool: str) -> str:
    """The chain of commands, folded."""
    text = escape(json.dumps(chain, indent=1))
    version = f"<p class='soft'>{tool} {__version__}</p>"
    return f"<details><summary>Provenance</summary>{version}<pre>{text}</pre></details>"
