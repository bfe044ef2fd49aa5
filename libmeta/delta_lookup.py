"""Deltas that ms-delta computed before, taken from its own Parquet: the same numbers without the work.

Found by the edit itself (libmeta.alleles.Edit), strand and gene, so any spelling of a variant finds them. A table says in
its metadata what it was made with; one made with anything else that moves a score is refused.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from libmeta import streams
from libmeta.alleles import Edit
from libmeta.delta import KINDS, MODELS, Effect, Row
from libmeta.errors import USAGE, MetaError
from libmeta.introns import ACCEPTOR, DONOR
from libmeta.variant_windows import Aligned

Key = tuple[Edit, str, str | None]  # edit, strand, gene id


class Lookup:
    """The rows of one table, read where they are asked for; memory is that of the rows found.

    about, step: metadata and step of the chain of what this run would write. profiles: whether every base of the windows
    is needed. Raises MetaError for a file that is no such table or was made otherwise.
    """

    def __init__(self, path: str | Path, about: dict, step: dict, profiles: bool):
        self.path, self.taken = str(path), 0
        if not self.path.endswith(".parquet"):
            raise MetaError(f"not a .parquet file, --lookup {path}; give one that ms-delta wrote", USAGE)
        table = streams.open_table(path).expect("delta")
        _check(_said(table.metadata, table.provenance[-1]), _said(about, step), self.path)
        if profiles and "window_start" not in table.schema.names:
            raise MetaError(f"no scores of every base, --lookup {path}; it was made without --profiles: leave it out")
        self.provenance = table.provenance
        self.models = MODELS if "meta_ds_ag" in table.schema.names else MODELS[:1]
        self.profiles = "window_start" in table.schema.names
        self._table = ds.dataset(self.path, format="parquet")
        left_out = {"record", "allele", "pos", "ref", "alt", "reason", "gene_name", "transcripts"}
        self._columns = [n for n in table.schema.names if n not in left_out]

    def fill(self, contig: str, rows: Sequence[tuple[Edit, Row]]) -> None:
        """Fill those of the rows that the table has; the others stay as they are."""
        found = self._read(contig, np.unique([edit.start for edit, _ in rows]))
        for edit, row in rows:
            entry = found.get((edit, row.strand, row.gene.id if row.gene else None))
            if entry is None:
                continue
            self.taken += 1
            row.aligned, row.effect = self._scores(entry, "base")
            if "meta" in self.models:
                row.meta_aligned, row.meta_effect = self._scores(entry, "meta")

    def _read(self, contig: str, starts: np.ndarray) -> dict[Key, dict]:
        start = pc.field("start")
        # the range lets whole row groups be passed over
        wanted = (pc.field("chrom") == contig) & (start >= int(starts[0])) & (start <= int(starts[-1]))
        table = self._table.to_table(self._columns, filter=wanted & start.isin(starts.tolist()))
        return {
            (Edit(r["start"], r["removed"], r["inserted"]), r["strand"], r["gene_id"]): r for r in table.to_pylist()
        }

    def _scores(self, row: dict, model: str) -> tuple[Aligned, Effect]:
        def numbers(name: str, kind, none=np.nan) -> np.ndarray:
            values = [row[f"{model}_{name}_{k}"] for k in KINDS]
            return np.array([none if v is None else v for v in values], kind)

        masked = None
        if row[f"{model}_masked_ds_ag"] is not None:
            unknown = np.full(len(KINDS), np.nan, np.float32)
            places = numbers("masked_pos", np.int64, -1), numbers("masked_offset", np.int64, 0)
            masked = Effect(numbers("masked_ds", np.float32), *places, unknown, unknown)
        effect = Effect(
            numbers("ds", np.float32), numbers("pos", np.int64), numbers("offset", np.int64),
            numbers("ref", np.float32), numbers("alt", np.float32), masked,
        )  # fmt: skip
        inserted = _rows(row[f"{model}_inserted_donor"], row[f"{model}_inserted_acceptor"])
        start, ref, alt = 0, inserted[:0], inserted[:0]
        if self.profiles:
            start = row["window_start"]
            ref, alt = (
                _rows(*(row[f"{model}_profile_{a}_{s}"] for s in ("donor", "acceptor"))) for a in ("ref", "alt")
            )
        after, offset = (np.array(row[f"inserted_{k}"], np.int64) for k in ("after", "offset"))
        return Aligned(start, ref, alt, inserted, after, offset), effect


def _rows(donor: list, acceptor: list) -> np.ndarray:
    """Lists as float32 (n, 3); null is NaN, and neither is what is left."""
    out = np.empty((len(donor), 3), np.float32)
    out[:, DONOR], out[:, ACCEPTOR] = np.array(donor, np.float32), np.array(acceptor, np.float32)
    out[:, 2] = 1 - out[:, DONOR] - out[:, ACCEPTOR]
    return out


def _said(about: dict, step: dict) -> dict:
    """What moves a score, from a table's metadata and its own step of the chain."""
    inputs = step["inputs"]
    refined = about.get("meta", {})
    return {
        "weights": [m["sha256"] for m in (about["model"], *refined.get("base_models", []))],
        "model -m": inputs.get("meta"),
        "distance": about["distance"],
        "--like-spliceai": about["like_spliceai"],
        "genome": inputs["genome"],
        "annotation": {k: v for k, v in inputs.items() if k.startswith("annotation.")},
        "evidence": {k: inputs.get(k) for k in refined.get("evidence", [])},
    }


def _check(there: dict, here: dict, path: str) -> None:
    for what, ours in here.items():
        if there[what] != ours:
            told = f" ({there[what]} there, {ours} here)" if isinstance(ours, bool | int) else ""
            raise MetaError(f"made with another {what}{told}, --lookup {path}; make it again, or leave it out")
