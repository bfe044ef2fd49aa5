"""Delta scores as INFO of VCF records and as tables."""

import contextlib
import json
import sys
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from libmeta import __version__, schema, streams, vcf
from libmeta.contigs import Contigs
from libmeta.delta import KINDS, MODELS, Allele, Effect, Row, best
from libmeta.errors import USAGE, MetaError
from libmeta.introns import ACCEPTOR, DONOR
from libmeta.variant_windows import Aligned
from libmeta.vcf import Record

FORMAT = "ALLELE|SYMBOL|DS_AG|DS_AL|DS_DG|DS_DL|DP_AG|DP_AL|DP_DG|DP_DL"
SCORED = "scored"
_NAMES = {"AG": "acceptor gain", "AL": "acceptor loss", "DG": "donor gain", "DL": "donor loss"}
_OURS = "ms-delta "  # what our header lines' descriptions start with
_ID = "##INFO=<ID="
_MARK = {"base": "", "meta": "_META"}  # in the names of a model's fields


class VcfOutput:
    """Records with their scores in INFO; a context manager.

    reader: the open input. name: key of the SpliceAI-shaped string, masked: which scores it shows. annotated: whether
    masked scores exist. about: what the header says of each of the MODELS there is; the meta model's fields have META in
    their names. seen: contig names of the first records, which set the names of added ##contig lines.
    """

    def __init__(
        self, target: str, kind: str, reader: vcf.Reader, name: str, masked: bool, annotated: bool, about: dict[str, str],
        contigs: Contigs, seen: Iterable[str], chain: list[dict], index: bool,
    ):  # fmt: skip
        self.masked, self.annotated, self.models = masked, annotated, list(about)
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
        for model in self.models if any(a.rows for a in found) else ():
            strings = [_string(a, r, self.masked, model) for a in found for r in a.rows]
            entries.append(f"{self.name}{_MARK[model]}={','.join(strings)}")
            for mask in (False, True) if self.annotated else (False,):
                entries += _typed(record, found, mask, model)
        return [*entries, f"MS_STATUS={','.join(a.reason or SCORED for a in found)}"]


def _info_lines(name: str, masked: bool, annotated: bool, about: dict[str, str]) -> dict[str, str]:
    """INFO header lines by key."""
    which, out = "masked" if masked else "raw", {}

    def add(key: str, number: str, kind: str, text: str) -> None:
        out[key] = f'##INFO=<ID={key},Number={number},Type={kind},Description="{_OURS}{__version__}: {text}">'

    add("MS_STATUS", ".", "String", f"{SCORED}, or why an ALT has no scores, one per ALT")
    for model, told in about.items():
        mark, whose = _MARK[model], "" if model == "base" else ", meta model"
        add(f"{name}{mark}", ".", "String",
            f"{told}, {which} delta scores (DS) and their positions relative to POS (DP) for acceptor gain (AG), acceptor "
            f"loss (AL), donor gain (DG), donor loss (DL), one entry per ALT and gene. Format: {FORMAT}")  # fmt: skip
        for end, text in (("", "raw"), ("_MASKED", "masked")) if annotated else (("", "raw"),):
            add(f"MS{mark}_DS{end}", "A", "Float", f"largest of the four {text} delta scores over genes{whose}")
            for key, what in _NAMES.items():
                add(f"MS{mark}_DS_{key}{end}", "A", "Float", f"{text} delta score of {what}, largest over genes{whose}")
                add(f"MS{mark}_DP_{key}{end}", "A", "Integer", f"its position relative to POS ({what}, {text}{whose})")
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


def _string(allele: Allele, row: Row, masked: bool, model: str) -> str:
    """One entry of the SpliceAI-shaped string."""
    _, shown = row.of(model)
    shown = shown.masked if masked else shown
    scores = [f"{s:.2f}" for s in shown.score]
    places = [str(p - (allele.pos - 1)) if p >= 0 else "." for p in shown.pos.tolist()]
    return "|".join([allele.alt, _symbol(row), *scores, *places])


def _symbol(row: Row) -> str:
    """Gene name without what would break the string or the INFO column."""
    name = row.gene.name if row.gene else "."
    return name.translate({ord(c): "_" for c in "|,;= \t"})


def _typed(record: Record, found: list[Allele], masked: bool, model: str) -> list[str]:
    """The Number=A fields of a model; the largest over the rows of each ALT."""
    start, end = f"MS{_MARK[model]}", "_MASKED" if masked else ""
    tops = [list(best(a.rows, masked, model)) if a.rows else [None] * 4 for a in found]
    largest = [max((t[0] for t in top if t), default=None) for top in tops]
    out = [f"{start}_DS{end}=" + ",".join("." if s is None else f"{s:.4f}" for s in largest)]
    for i, kind in enumerate(KINDS):
        values = [top[i] for top in tops]
        out.append(f"{start}_DS_{kind.upper()}{end}=" + ",".join("." if v is None else f"{v[0]:.4f}" for v in values))
        places = ["." if v is None or v[1] < 0 else str(v[1] - (record.pos - 1)) for v in values]
        out.append(f"{start}_DP_{kind.upper()}{end}=" + ",".join(places))
    return out


# ---- tables ---------------------------------------------------------------------------------------------------------


class TableOutput:
    """Rows of the delta format as Parquet, Arrow or TSV, with columns of a meta model if `refined`; a context manager."""

    def __init__(self, target: str, kind: str, profiles: bool, refined: bool, about: dict, chain: list[dict]):
        form = schema.load("delta")
        self.models, self.profiles = MODELS if refined else MODELS[:1], profiles
        kept = [c.field for c in form.columns if not c.optional or self._asked(c.name)]
        meta = streams.metadata(form.name, form.version, chain, **about)
        self.schema = pa.schema(kept, meta)
        self._writer = TsvWriter(target, self.schema) if kind == "tsv" else streams.Writer(target, self.schema)

    def _asked(self, column: str) -> bool:
        """Whether an optional column is wanted."""
        profile = column == "window_start" or "_profile_" in column
        return (self.profiles or not profile) and ("meta" in self.models or not column.startswith("meta_"))

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
                rows += [start | _row_fields(r, self.models, self.profiles) for r in allele.rows] or [start]
        self._writer.write(pa.Table.from_pylist(rows, schema=self.schema))


def _allele_fields(record: Record, allele: Allele) -> dict:
    edit = allele.edit
    return {
        "chrom": allele.contig or record.chrom, "pos": record.pos - 1, "ref": record.ref, "alt": allele.alt,
        "reason": allele.reason or SCORED, "start": edit and edit.start, "removed": edit and edit.removed,
        "inserted": edit and edit.inserted,
    }  # fmt: skip


def _row_fields(row: Row, models: Sequence[str], profiles: bool) -> dict:
    gene, aligned = row.gene, row.aligned
    out = {
        "strand": row.strand, "gene_id": gene and gene.id, "gene_name": gene and gene.name,
        "transcripts": row.transcripts if gene else None, "inserted_after": aligned.after,
        "inserted_offset": aligned.offset,
    }  # fmt: skip
    if profiles:
        out["window_start"] = aligned.start
    for model in models:
        out |= {f"{model}_{k}": v for k, v in _model_fields(*row.of(model)).items()}
        if profiles:
            out |= {f"{model}_{k}": v for k, v in _profile_fields(aligned, row.of(model)[0]).items()}
    return out


def _model_fields(aligned: Aligned, found: Effect) -> dict:
    """What one model says, without its prefix."""
    out = {"inserted_donor": aligned.inserted[:, DONOR], "inserted_acceptor": aligned.inserted[:, ACCEPTOR]}
    for i, kind in enumerate(KINDS):
        out |= {
            f"ds_{kind}": found.score[i], f"pos_{kind}": found.pos[i], f"offset_{kind}": found.offset[i],
            f"ref_{kind}": _known(found.ref[i]), f"alt_{kind}": _known(found.alt[i]),
        }  # fmt: skip
        if found.masked is not None:
            left = found.masked.pos[i] >= 0
            out |= {
                f"masked_ds_{kind}": found.masked.score[i],
                f"masked_pos_{kind}": found.masked.pos[i] if left else None,
                f"masked_offset_{kind}": found.masked.offset[i] if left else None,
            }
    return out


def _profile_fields(base: Aligned, aligned: Aligned) -> dict:
    """Scores of every base of the base model's window; NaN (null) where the model has none."""
    out = {}
    for allele in ("ref", "alt"):
        scores = getattr(aligned, allele)[base.start - aligned.start :][: len(base.ref)]
        scores = [[_known(x) for x in column] for column in scores.T] if np.isnan(scores).any() else scores.T
        out |= {f"profile_{allele}_donor": scores[DONOR], f"profile_{allele}_acceptor": scores[ACCEPTOR]}
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
