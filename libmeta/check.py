"""Check files of ours against schemas/: `python -m libmeta.schema FILE ...`. One line per file; exit 1 if any fails."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta import schema
from libmeta.errors import MetaError
from libmeta.streams import open_table
from libmeta.tracks import check_whole

HDF5_MAGIC = b"\x89HDF"
BIGWIG_MAGICS = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")


def check_file(path: str | Path) -> str:
    """Check one file; what it is, in one line. Raises MetaError for the first thing that is wrong."""
    path = Path(path)
    if not path.is_file():
        raise MetaError(f"no such file, {path}; check the path")
    with open(path, "rb") as handle:
        start = handle.read(4)
    if start in BIGWIG_MAGICS:
        return check_bigwig(path)
    if start == HDF5_MAGIC:
        from libmeta.shard_check import check_hdf5

        return check_hdf5(path)
    if path.suffix == ".ubj":
        return check_model(path)
    if path.suffix == ".safetensors":
        return check_sequence_model(path)
    if start[:1] == b"{":
        return check_json(path)
    return check_table(path)


# ---- tables ---------------------------------------------------------------------------------------------------------


def check_table(path: Path) -> str:
    """Columns, types, nulls, ranges, values, order and uniqueness of keys, end mark or footer."""
    stream = open_table(path)
    name = stream.metadata.get("format")
    if name not in schema.names() or schema.load(name).kind != "table":
        raise MetaError(f"no table format of ours (ms.format is {name!r}), {path}; give a file made by an ms- tool")
    form = schema.load(name)
    if stream.metadata.get("version") != form.version:
        raise MetaError(f"{name} version {stream.metadata.get('version')}, {path}; this is version {form.version}")
    if not stream.metadata.get("provenance"):
        raise MetaError(f"no provenance (ms.provenance), {path}; make it with an ms- tool")
    wanted = _wanted(form, stream.schema, path)
    order = _Order(form, path)
    rows = 0
    for batch in stream:
        for column in wanted:
            _check_column(batch, column, path, rows)
        order.follow(batch, rows)
        rows += batch.num_rows
    return f"{name} version {form.version}, {rows:,} rows, {len(stream.schema)} columns"


def _wanted(form: schema.Format, found: pa.Schema, path: Path) -> list[schema.Column]:
    columns = []
    for column in form.columns:
        if column.name not in found.names:
            if column.optional:
                continue
            raise MetaError(f"no column {column.name}, {path}; {form.name} needs it")
        if found.field(column.name).type != column.field.type:
            raise MetaError(
                f"column {column.name} is {found.field(column.name).type}, {path}; it should be {column.type}"
            )
        columns.append(column)
    known = {c.name for c in form.columns}
    further = [f for f in found if f.name not in known]
    strange = [f for f in further if not schema.tissue(f)] if form.further else [] if form.open else further
    if strange:
        raise MetaError(f"unknown column {strange[0].name}, {path}; {form.name} has none such")
    if lost := [f.name for f in further if not (schema.modality(f) or form.further)]:
        raise MetaError(f"column {lost[0]} has no role and modality in its metadata, {path}; make it with ms-features")
    return columns + [_described(f) for f in further]


def _described(item: pa.Field) -> schema.Column:
    """The column of a modality as that modality describes it, else only what the field says."""
    from libmeta import modalities

    if schema.tissue(item):
        return schema.Column(item.name, "float32", "", min=0, max=1, missing="as the column without a tissue")
    name = schema.modality(item)
    if name in modalities.names():
        plain = item.name.split(".")[-1]
        for column in modalities.columns(name):
            if column.name.split(".")[-1] == plain:
                return schema.Column(**{**column.__dict__, "name": item.name})
    return schema.Column(item.name, str(item.type), "", missing="" if not item.nullable else "as its modality says")


def _check_column(batch: pa.RecordBatch, column: schema.Column, path: Path, before: int) -> None:
    values = batch.column(batch.schema.get_field_index(column.name))
    if values.null_count and not column.missing:
        at = before + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise MetaError(f"null in {column.name}, {path} row {at}; it is never missing")
    if pa.types.is_floating(values.type):
        if (pc.sum(pc.is_nan(values)).as_py() or 0) > 0:
            raise MetaError(f"NaN in {column.name}, {path}; missing values are null")
        if pc.sum(pc.is_inf(values)).as_py():
            raise MetaError(f"infinite value in {column.name}, {path}; mend its source")
    if pa.types.is_list(values.type) or not len(values):
        return
    if column.values:
        odd = [v for v in pc.unique(values).to_pylist() if v is not None and v not in column.values]
        if odd:
            raise MetaError(f"{odd[0]!r} in {column.name}, {path}; it takes {', '.join(map(str, column.values))}")
    if column.min is not None or column.max is not None:
        span = pc.min_max(values).as_py()
        low, high = span["min"], span["max"]
        slack = 1e-5  # rounding of float32
        if low is not None and column.min is not None and low < column.min - slack:
            raise MetaError(f"{low} in {column.name}, {path}; its least is {column.min}")
        if high is not None and column.max is not None and high > column.max + slack:
            raise MetaError(f"{high} in {column.name}, {path}; its most is {column.max}")


class _Order:
    """Keys ascend: contigs in blocks, then the other key columns in their order; unique where promised.

    "+" sorts before "-" as it does in ASCII; "acceptor" before "donor".
    """

    def __init__(self, form: schema.Format, path: Path):
        self.names, self.unique, self.path = form.sorted, form.unique, path
        self.last, self.seen = None, []

    def follow(self, batch: pa.RecordBatch, before: int) -> None:
        if not self.names or not batch.num_rows:
            return
        columns = [batch.column(n).to_pylist() for n in self.names]
        for row, key in enumerate(zip(*columns, strict=True), before):
            chrom, rest = key[0], key[1:]
            if self.last is not None and chrom == self.last[0]:
                if rest < self.last[1] or (rest == self.last[1] and self.unique):
                    kind = "twice" if rest == self.last[1] else "out of order"
                    raise MetaError(f"key {key} stands {kind}, {self.path} row {row}; sort by {', '.join(self.names)}")
            elif chrom in self.seen:
                raise MetaError(f"contig {chrom} in two places, {self.path} row {row}; sort by {', '.join(self.names)}")
            else:
                self.seen.append(chrom)
            self.last = (chrom, rest)


# ---- other files ----------------------------------------------------------------------------------------------------


def check_bigwig(path: Path) -> str:
    """A score bigWig: opens, has contigs and, where it has data, zoom levels; all values in 0..1."""
    import pyBigWig

    check_whole(str(path))
    try:
        file = pyBigWig.open(str(path))
        header, contigs = file.header(), file.chroms()
    except RuntimeError as error:
        raise MetaError(f"not a bigWig or truncated, {path}; make it again") from error
    if not contigs:
        raise MetaError(f"no contig in the header, {path}; make it again")
    covered = 0
    for chrom, length in contigs.items():
        for start in range(0, length, 1 << 22):
            intervals = file.intervals(chrom, start, min(start + (1 << 22), length)) or ()
            if not intervals:
                continue
            table = np.array(intervals)
            covered += int((np.minimum(table[:, 1], start + (1 << 22)) - np.maximum(table[:, 0], start)).sum())
            if table[:, 1].max() > length:
                raise MetaError(f"value beyond {chrom} ({length:,} bp), {path}; likely another build")
            if not ((table[:, 2] >= 0) & (table[:, 2] <= 1)).all():
                raise MetaError(f"value outside 0..1 on {chrom}, {path}; scores are probabilities")
    if covered and not header["nLevels"]:
        raise MetaError(f"no zoom level, {path}; IGV would be slow: make it again")
    return f"score bigWig, {len(contigs)} contigs, {covered:,} bases, {header['nLevels']} zoom levels"


def check_model(path: Path) -> str:
    """A position model: readable, and every attribute of schemas/model.toml there."""
    from libmeta.checkpoint import from_file

    model = from_file(path)
    if not model.provenance:
        raise MetaError(f"no provenance, {path}; make it with ms-train")
    return f"model, recipe {model.recipe}, {len(model.columns)} columns, {model.trees} rounds"


def check_sequence_model(path: Path) -> str:
    """A sequence model: readable, every key of schemas/sequence_model.toml there, weights that fit the settings."""
    from libmeta.models.file import SequenceModel

    model = SequenceModel.from_file(path)
    if not model.provenance:
        raise MetaError(f"no provenance, {path}; make it with ms-train")
    count = sum(p.numel() for p in model.network().parameters())
    return f"sequence model, {model.kind}, recipe {model.recipe}, {len(model.channels)} channels, {count:,} parameters"


def check_json(path: Path) -> str:
    """Metrics, or the description beside score bigWigs."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MetaError(f"not JSON ({error}), {path}; make it again") from error
    name = values.get("format")
    if name not in schema.names():
        raise MetaError(f"no format of ours ({name!r}), {path}; give a file made by an ms- tool")
    form = schema.load(name)
    if lacking := [k["name"] for k in form.keys if k["name"] not in values and not k.get("optional")]:
        raise MetaError(f"no key {lacking[0]}, {path}; {name} needs it")
    if not values.get("provenance"):
        raise MetaError(f"no provenance, {path}; make it with an ms- tool")
    return f"{name} version {values.get('version')}"


def main(arguments: list[str]) -> None:
    """Command line of `python -m libmeta.schema`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(schema.__doc__ + "\n")
        raise SystemExit(0 if arguments else 2)
    if arguments == ["--readme"]:
        sys.stdout.write(schema.readme())
        return
    failed = False
    for path in arguments:
        try:
            sys.stdout.write(f"{path}: ok, {check_file(path)}\n")
        except MetaError as error:
            failed = True
            sys.stderr.write(f"{path}: error: {error}\n")
    raise SystemExit(1 if failed else 0)
