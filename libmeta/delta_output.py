"""Delta scores as INFO of VCF records and as tables."""

import contextlib
import json
import sys
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from libmeta import __version__, schema, streams, vcf
from libmeta.contigs import Contigs
from libmeta.delta import KINDS, Allele, Row, best
from libmeta.errors import USAGE, MetaError
from libmeta.introns import ACCEPTOR, DONOR
from libmeta.vcf import Record

FORMAT = "ALLELE|SYMBOL|DS_AG|DS_AL|DS_DG|DS_DL|DP_AG|DP_AL|DP_DG|DP_DL"
SCORED = "scored"
_NAMES = {"AG": "acceptor gain", "AL": "acceptor loss", "DG": "donor gain", "DL": "donor loss"}
_OURS = "ms-delta "  # what our header lines' descriptions start with
_ID = "##INFO=<ID="


class VcfOutput:
    """Records with their scores in INFO; a context manager.

    reader: the open input. name: key of the SpliceAI-shaped string, masked: which scores it shows. annotated: whether
    masked scores exist. seen: contig names of the first records, which set the names of added ##contig lines.
    """

    def __init__(
        self, target: str, kind: str, reader: vcf.Reader, name: str, masked: bool, annotated: bool, about: str,
        contigs: Contigs, seen: Iterable[str], chain: list[dict], index: bool,
    ):  # fmt: skip
        self.masked, self.annotated = masked, annotated
        lines = _info_lines(name, masked, annotated, about)
        self.drop = frozenset(k.encode() for k in lines)
        for line in reader.header:
            key = line[len(_ID) :].partition(",")[0] if line.startswith(_ID) else None
            if key in lines and f'Description="{_OURS}' not in line:
                raise MetaError(
                    f"INFO/{key} is there already, {reader.where}; give another name with --info-name, or remove it: "
                    f"bcftools annotate -x INFO/{key}",
                    USAGE,
                )
        kept = [x for x in reader.header if not (x.startswith(_ID) and x[len(_ID) :].partition(",")[0] in lines)]
        added = [] if reader.contigs else _contig_lines(contigs, seen)
        steps = [f"##ms.provenance={json.dumps(step, sort_keys=True)}" for step in chain]
        self.name = name
        self._writer = vcf.Writer(target, kind, [*kept, *added, *lines.values(), *steps, reader.columns], index)

    def __enter__(self):
        self._writer.__enter__()
        return self

    def __exit__(self, kind, error, trace):
        return self._writer.__exit__(kind, error, trace)

    def write(self, records: Sequence[Record], scored: Sequence[list[Allele]], first: int) -> None:
        """Append records; `first` is the number of the first of them."""
        for record, found in zip(records, scored, strict=True):
            self._writer.write(record.line(self.drop, [e.encode() for e in self._info(record, found)]))

    def _info(self, record: Record, found: list[Allele]) -> list[str]:
        entries = []
        strings = [_string(a, r, self.masked) for a in found for r in a.rows]
        if strings:
            entries.append(f"{self.name}={','.join(strings)}")
            for mask in (False, True) if self.annotated else (False,):
                entries += _typed(record, found, mask)
        return [*entries, f"MS_STATUS={','.join(a.reason or SCORED for a in found)}"]


def _info_lines(name: str, masked: bool, annotated: bool, about: str) -> dict[str, str]:
    """INFO header lines by key."""
    which = "masked" if masked else "raw"

    def line(key: str, number: str, kind: str, text: str) -> str:
        return f'##INFO=<ID={key},Number={number},Type={kind},Description="{_OURS}{__version__}: {text}">'

    out = {
        name: line(name, ".", "String", f"{about}, {which} delta scores (DS) and their positions relative to POS (DP) for "
                   "acceptor gain (AG), acceptor loss (AL), donor gain (DG), donor loss (DL), one entry per ALT and gene. "
                   f"Format: {FORMAT}"),
        "MS_STATUS": line("MS_STATUS", ".", "String", f"{SCORED}, or why an ALT has no scores, one per ALT"),
    }  # fmt: skip
    for end, text in (("", "raw"), ("_MASKED", "masked")) if annotated else (("", "raw"),):
        out[f"MS_DS{end}"] = line(f"MS_DS{end}", "A", "Float", f"largest of the four {text} delta scores over genes")
        for key, what in _NAMES.items():
            out[f"MS_DS_{key}{end}"] = line(
                f"MS_DS_{key}{end}", "A", "Float", f"{text} delta score of {what}, largest over genes"
            )
            out[f"MS_DP_{key}{end}"] = line(
                f"MS_DP_{key}{end}", "A", "Integer", f"its position relative to POS ({what}, {text})"
            )
    return out


def _contig_lines(contigs: Contigs, seen: Iterable[str]) -> list[str]:
    """##contig lines of the genome, spelt as the records spell them."""
    ours = {contigs.resolve(name): name for name in seen if contigs.resolve(name)}
    bare = any(not n.startswith("chr") and o.startswith("chr") for o, n in ours.items())
    prefixed = any(n.startswith("chr") and not o.startswith("chr") for o, n in ours.items())
    out = []
    for name, length in contigs.lengths.items():
        other = name.removeprefix("chr") if bare else f"chr{name}" if prefixed else name
        out.append(f"##contig=<ID={ours.get(name, other)},length={length}>")
    known = {contigs.resolve(n) or n: n for n in seen}
    return out + [f"##contig=<ID={n}>" for o, n in known.items() if o == n and n not in contigs.lengths]


def _string(allele: Allele, row: Row, masked: bool) -> str:
    """One entry of the SpliceAI-shaped string."""
    shown = row.effect.masked if masked else row.effect
    scores = [f"{s:.2f}" for s in shown.score]
    places = [str(p - (allele.pos - 1)) if p >= 0 else "." for p in shown.pos.tolist()]
    return "|".join([allele.alt, _symbol(row), *scores, *places])


def _symbol(row: Row) -> str:
    """Gene name without what would break the string or the INFO column."""
    name = row.gene.name if row.gene else "."
    return name.translate({ord(c): "_" for c in "|,;= \t"})


def _typed(record: Record, found: list[Allele], masked: bool) -> list[str]:
    """The Number=A fields; the largest over the rows of each ALT."""
    end = "_MASKED" if masked else ""
    tops = [list(best(a.rows, masked)) if a.rows else [None] * 4 for a in found]
    largest = [max((t[0] for t in top if t), default=None) for top in tops]
    out = [f"MS_DS{end}=" + ",".join("." if s is None else f"{s:.4f}" for s in largest)]
    for i, kind in enumerate(KINDS):
        values = [top[i] for top in tops]
        out.append(f"MS_DS_{kind.upper()}{end}=" + ",".join("." if v is None else f"{v[0]:.4f}" for v in values))
        places = ["." if v is None or v[1] < 0 else str(v[1] - (record.pos - 1)) for v in values]
        out.append(f"MS_DP_{kind.upper()}{end}=" + ",".join(places))
    return out


# ---- tables ---------------------------------------------------------------------------------------------------------


class TableOutput:
    """Rows of the delta format as Parquet, Arrow or TSV; a context manager."""

    def __init__(self, target: str, kind: str, profiles: bool, about: dict, chain: list[dict]):
        form = schema.load("delta")
        kept = [c.field for c in form.columns if not c.optional or (profiles and _is_profile(c.name))]
        meta = streams.metadata(form.name, form.version, chain, **about)
        self.schema, self.profiles = pa.schema(kept, meta), profiles
        self._writer = TsvWriter(target, self.schema) if kind == "tsv" else streams.Writer(target, self.schema)

    def __enter__(self):
        self._writer.__enter__()
        return self

    def __exit__(self, kind, error, trace):
        return self._writer.__exit__(kind, error, trace)

    def write(self, records: Sequence[Record], scored: Sequence[list[Allele]], first: int) -> None:
        """Append the rows of records; `first` is the number of the first of them."""
        rows = []
        for number, (record, found) in enumerate(zip(records, scored, strict=True), first):
            for i, allele in enumerate(found):
                start = {"record": number, "allele": i, **_allele_fields(record, allele)}
                rows += [start | _row_fields(r, self.profiles) for r in allele.rows] or [start]
        self._writer.write(pa.Table.from_pylist(rows, schema=self.schema))


def _is_profile(name: str) -> bool:
    return name == "window_start" or name.startswith("base_profile_")


def _allele_fields(record: Record, allele: Allele) -> dict:
    edit = allele.edit
    return {
        "chrom": allele.contig or record.chrom, "pos": record.pos - 1, "ref": record.ref, "alt": allele.alt,
        "reason": allele.reason or SCORED, "start": edit and edit.start, "removed": edit and edit.removed,
        "inserted": edit and edit.inserted,
    }  # fmt: skip


def _row_fields(row: Row, profiles: bool) -> dict:
    found, aligned, gene = row.effect, row.aligned, row.gene
    out = {
        "strand": row.strand, "gene_id": gene and gene.id, "gene_name": gene and gene.name,
        "transcripts": row.transcripts if gene else None, "inserted_after": aligned.after,
        "inserted_offset": aligned.offset, "base_inserted_donor": aligned.inserted[:, DONOR],
        "base_inserted_acceptor": aligned.inserted[:, ACCEPTOR],
    }  # fmt: skip
    for i, kind in enumerate(KINDS):
        out |= {
            f"base_ds_{kind}": found.score[i], f"base_pos_{kind}": found.pos[i], f"base_offset_{kind}": found.offset[i],
            f"base_ref_{kind}": _known(found.ref[i]), f"base_alt_{kind}": _known(found.alt[i]),
        }  # fmt: skip
        if found.masked is not None:
            left = found.masked.pos[i] >= 0
            out |= {
                f"base_masked_ds_{kind}": found.masked.score[i],
                f"base_masked_pos_{kind}": found.masked.pos[i] if left else None,
                f"base_masked_offset_{kind}": found.masked.offset[i] if left else None,
            }
    if profiles:
        out["window_start"] = aligned.start
        for allele in ("ref", "alt"):
            scores = getattr(aligned, allele)
            out[f"base_profile_{allele}_donor"] = scores[:, DONOR]
            out[f"base_profile_{allele}_acceptor"] = scores[:, ACCEPTOR]
    return out


def _known(value: np.float32) -> np.float32 | None:
    return None if np.isnan(value) else value


class TsvWriter:
    """Tab-separated text to "-" or a file, atomically: provenance as # lines, a header, "." where nothing is known."""

    def __init__(self, target: str, form: pa.Schema):
        self.target, self.schema = target, form

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        if self.target == "-":
            self._file = sys.stdout
        else:
            path = self._stack.enter_context(streams.atomic(self.target))
            self._file = self._stack.enter_context(open(path, "w", encoding="utf-8", newline="\n"))
        for key, value in sorted(streams.read_metadata(self.schema).items()):
            self._file.write(f"# ms.{key}={json.dumps(value, sort_keys=True)}\n")
        self._file.write("\t".join(self.schema.names) + "\n")
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        columns = [[_text(v) for v in column.to_pylist()] for column in table.columns]
        self._file.writelines("\t".join(row) + "\n" for row in zip(*columns, strict=True))

    def __exit__(self, kind, error, trace):
        return self._stack.__exit__(kind, error, trace)


def _text(value) -> str:
    if value is None:
        return "."
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "."
    return str(value) or "."
