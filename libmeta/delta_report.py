"""One self-contained HTML page of a run of ms-delta: the variants by effect, with pictures and words. It opens offline."""

from dataclasses import dataclass
from html import escape

import numpy as np

from libmeta.alleles import REASONS
from libmeta.delta import KINDS, Effect, Row
from libmeta.delta_ranking import MOST_ROWS, STEPS, Entry, Ranking
from libmeta.delta_rows import CALLED, effects
from libmeta.delta_words import NAMES, changes, place, sort_of
from libmeta.gene_index import GeneIndex, Transcript
from libmeta.report import provenance, whole

_LONGEST = 24  # letters of an allele that are shown
_LONGEST_NAME = 60  # of an ID


@dataclass(frozen=True)
class Run:
    """What the page tells of a run. source: the input; model: text; masked: which scores sort the page."""

    source: str
    model: str
    distance: int
    masked: bool
    records: int
    broken: int
    chain: list[dict]


def page(run: Run, ranking: Ranking, genes: GeneIndex | None) -> str:
    """The page as HTML. Whatever comes from the input is escaped."""
    drawn = {e.number for e in ranking.drawn}
    parts = [
        "<h1>Variants and splice sites</h1>",
        f'<p class="soft">{_subject(run)}</p>',
        _cards(ranking),
        _table(run, ranking, genes is not None, drawn),
        _pictures(ranking, genes),
        _unscored(ranking),
        provenance(run.chain, "ms-delta"),
    ]
    return whole("Variants and splice sites", "\n".join(parts))


def _subject(run: Run) -> str:
    told = [escape(run.source), escape(run.model), f"{run.distance:,} bases searched on either side of each allele"]
    told.append(f"{run.records:,} records" + (f", {run.broken:,} broken ones left out" if run.broken else ""))
    return "; ".join(told) + "."


def _cards(ranking: Ranking) -> str:
    scored = ranking.total - ranking.reasons.total()
    cards = [("alleles", f"{ranking.total:,}", f"{scored:,} scored, {ranking.reasons.total():,} not")]
    cards += [
        (f"delta score ≥ {step}", f"{ranking.above[step]:,}", _share(ranking.above[step], scored)) for step in STEPS
    ]
    text = "".join(f'<div class="card"><i>{a}</i><b>{b}</b><i>{c}</i></div>' for a, b, c in cards)
    return f'<div class="cards">{text}</div>'


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%} of the scored" if of else "none scored"


def _table(run: Run, ranking: Ranking, annotated: bool, drawn: set[int]) -> str:
    rows = ranking.rows
    if not rows:
        return ""
    models = list(effects(rows[0].allele.rows[0]))
    masks = (False, True) if annotated else (False,)
    blocks = [(m, mask) for m in models for mask in masks]
    names = "".join(f'<th colspan="5" class="l">{CALLED[m]}, {"masked" if mask else "raw"}</th>' for m, mask in blocks)
    head = "".join(f'<th class="l">{h}</th>' for h in ("variant", "ID", "gene"))
    each = "".join(f'<th title="{NAMES[k]}">{k.upper()}</th>' for k in KINDS) + "<th>largest</th>"
    head += each * len(blocks)
    body = []
    for entry in rows:
        for i, row in enumerate(entry.allele.rows):
            first = i == 0
            cells = [_link(entry, drawn), _called(entry)] if first else ["", ""]
            cells.append(_gene(row))
            left = "".join(f'<td class="l">{c}</td>' for c in cells)
            scores = "".join(_cells(_of(row, *block)) for block in blocks)
            body.append(f"<tr{' class=first' if first else ''}>{left}{scores}</tr>")
    scored = ranking.total - ranking.reasons.total()
    text = (
        f"Sorted by the largest {'masked' if run.masked else 'raw'} delta score over genes and models, largest first. "
        "AG, AL, DG, DL: acceptor gain and loss, donor gain and loss, 0 to 1. Masked: without gains at annotated sites "
        "and losses elsewhere."
    )
    if scored > MOST_ROWS:
        text += f" The {MOST_ROWS:,} largest of {scored:,} are shown; the output file has all."
    return (
        f'<h2>Variants by effect</h2><p class="soft">{text}</p><div class="wide"><table><thead>'
        f'<tr><th colspan="3"></th>{names}</tr><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _of(row: Row, model: str, masked: bool) -> Effect | None:
    effect = effects(row)[model]
    return effect.masked if masked else effect


def _cells(effect: Effect | None) -> str:
    values = [*effect.score.tolist(), float(effect.score.max())]
    return "".join(f"<td{_weight(v)}>{v:.2f}</td>" for v in values)


def _weight(value: float) -> str:
    return ' class="below"' if value >= 0.5 else ""


def _link(entry: Entry, drawn: set[int]) -> str:
    return f'<a href="#v{entry.number}">{_name(entry)}</a>' if entry.number in drawn else _name(entry)


def _name(entry: Entry) -> str:
    return f"{escape(entry.chrom)}:{entry.pos:,} {_letters(entry.ref)}&gt;{_letters(entry.allele.alt)}"


def _called(entry: Entry) -> str:
    """Its ID, the beginning of a long one."""
    return escape(entry.name if len(entry.name) <= _LONGEST_NAME else f"{entry.name[:_LONGEST_NAME]}…")


def _letters(allele: str) -> str:
    """An allele, a long one by its ends."""
    if len(allele) <= _LONGEST:
        return escape(allele)
    half = _LONGEST // 3
    return f"{escape(allele[:half])}…{escape(allele[-half:])} ({len(allele):,} bp)"


def _gene(row: Row) -> str:
    arrow = "→" if row.strand == "+" else "←"
    return f"{escape(row.gene.name or row.gene.id)} {arrow}" if row.gene else f"no gene {arrow}"


def _pictures(ranking: Ranking, genes: GeneIndex | None) -> str:
    entries = ranking.drawn
    if not entries:
        return ""
    scored = ranking.total - ranking.reasons.total()
    text = (
        "Donor scores stand up, acceptor scores down: grey REF, blue ALT. The band is the variant; inserted bases stand "
        "between their neighbours. Numbers at sticks are delta scores. Below, the exons of one transcript, with triangles at "
        "annotated sites of any: up donors, down acceptors. What is told is a change of scores, not its consequence for the "
        "transcript."
    )
    many = f"The {len(entries):,} largest of {scored:,} are drawn" if scored > len(entries) else "All are drawn"
    drawn = "".join(_picture(entry, genes) for entry in entries)
    return f'<h2>Along the sequence</h2><p class="soft">{many} (--html-top). {text}</p>{drawn}'


def _picture(entry: Entry, genes: GeneIndex | None) -> str:
    from libmeta import variant_figure

    allele, edit = entry.allele, entry.allele.edit
    called = "" if entry.name == "." else f" ({_called(entry)})"
    parts = [f'<h3 id="v{entry.number}">{_name(entry)}{called}</h3>']
    for row in allele.rows:
        start, length = row.aligned.start, len(row.aligned.ref)
        annotated, transcript = np.zeros((2, length), bool), None
        if genes is not None:
            annotated = genes.annotated(allele.contig, row.strand, start, start + length)
        if row.gene:
            transcript = genes.transcript(row.gene, allele.contig, edit.anchor, edit.end)
        parts.append(_told(entry, row, transcript, genes))
        label = f"REF and ALT scores around {entry.chrom}:{entry.pos}"
        parts.append(f"<figure>{variant_figure.along(row, edit, transcript, annotated, label)}</figure>")
    return "".join(parts)


def _told(entry: Entry, row: Row, transcript: Transcript | None, genes: GeneIndex | None) -> str:
    """The gene, what the variant is and where, and what it changes."""
    edit = entry.allele.edit
    where = [sort_of(edit)]
    if transcript is not None:
        # the first changed base in the transcript's direction; an insertion: the base that follows it
        first = edit.start if row.strand == "+" else edit.start + len(edit.removed) - 1
        where = [sort_of(edit), escape(place(first, transcript)), f"transcript {escape(transcript.id)}"]
    items = []
    for model, effect in effects(row).items():
        found = changes(effect, edit, entry.allele.contig, row.strand, transcript, genes)
        prefix = f"{CALLED[model]}: " if len(effects(row)) > 1 else ""
        items += [f"<li>{prefix}{escape(text)}</li>" for text in found]
    return f'<p><b>{_gene(row)}</b> <span class="soft">{", ".join(where)}</span></p><ul>{"".join(items)}</ul>'


def _unscored(ranking: Ranking) -> str:
    if not ranking.reasons:
        return ""
    counts = "".join(
        f'<tr><td class="l">{escape(r)}</td><td class="l">{escape(REASONS[r])}</td><td>{n:,}</td></tr>'
        for r, n in sorted(ranking.reasons.items())
    )
    rows = "".join(
        f'<tr><td class="l">{escape(e.chrom)}:{e.pos:,}</td><td class="l">{_called(e)}</td>'
        f'<td class="l">{_letters(e.ref)}</td><td class="l">{_letters(e.allele.alt)}</td>'
        f'<td class="l">{escape(e.allele.reason)}</td></tr>'
        for e in ranking.unscored
    )
    total = ranking.reasons.total()
    more = f" The first {MOST_ROWS:,} of {total:,} are listed." if total > MOST_ROWS else ""
    heads = "".join(f'<th class="l">{h}</th>' for h in ("position", "ID", "REF", "ALT", "reason"))
    return (
        f'<h2>Without scores</h2><div class="wide"><table><thead><tr><th class="l">reason</th><th class="l">meaning</th>'
        f'<th>alleles</th></tr></thead><tbody>{counts}</tbody></table></div><p class="soft">{more}</p>'
        f'<details><summary>Each of them</summary><div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}'
        f"</tbody></table></div></details>"
    )
