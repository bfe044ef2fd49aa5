"""Sites by tissue beside the shards: a sparse list in genome coordinates, read for any stretch of a region."""

import json
import logging
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from libmeta import schema
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.introns import ACCEPTOR, DONOR, NEITHER
from libmeta.shards import ShardRegion, damaged, file_sha256
from libmeta.site_tissues import ACTIVE, UNKNOWN, SiteTissues, of_table
from libmeta.split import TRAIN, VALID, Split
from libmeta.streams import atomic, open_table

log = logging.getLogger("libmeta")

FILE = "tissues.h5"


def take(path: str | Path) -> tuple[pa.Table, SiteTissues]:
    """A sites table of recipe m2e, and in which tissues its rows are used."""
    stream = open_table(path).expect("sites")
    table = stream.table()
    return table, of_table(table, stream.metadata.get("tissue_names"), stream.name)


def put(folder: Path, found: tuple[pa.Table, SiteTissues] | None, split: Split, contigs: Contigs) -> dict:
    """What the manifest gains by the sites by tissue; without any, FILE of an earlier packing goes."""
    (folder / FILE).unlink(missing_ok=True)
    if found is None:
        return {}
    entry = write(folder, *found, split, contigs)
    log.info("%s sites known in some of %d tissues", f"{entry['sites']:,}", len(entry["tissues"]))
    return {"tissues": entry}


def write(folder: Path, table: pa.Table, tissues: SiteTissues, split: Split, contigs: Contigs) -> dict:
    """Write FILE into a folder of shards; its entry for the manifest: name, sha256, tissues, sites.

    table: the sites. Sites without a known tissue are left out, as are those outside the training and validation parts.
    Of the two sites of a base the one of the lower tier stays, as in the labels.
    """
    names = list(contigs.lengths)
    ours = {c: contigs.resolve(c) for c in table["chrom"].unique().to_pylist()}
    chrom = np.array([names.index(ours[c]) if ours[c] else -1 for c in table["chrom"].to_pylist()], np.int32)
    pos = table["pos"].to_numpy().astype(np.int64)
    strand = np.where(np.array(table["strand"].to_pylist(), object) == "+", 1, -1).astype(np.int8)
    site = np.where(np.array(table["site"].to_pylist(), object) == "donor", DONOR, ACCEPTOR).astype(np.uint8)
    kept = (tissues.state != UNKNOWN).any(axis=1) & (chrom >= 0)
    for i in np.unique(chrom[kept]):
        mine = np.flatnonzero(chrom == i)
        kept[mine] &= np.isin(split.assign(names[i], pos[mine]), (TRAIN, VALID))
    order = np.lexsort((site, table["tier"].to_numpy(), strand, pos, chrom))
    order = order[kept[order]]
    key = np.stack([chrom, pos, strand])[:, order]
    order = order[np.concatenate([[True], (np.diff(key) != 0).any(axis=0)])[: len(order)]]
    columns = {"contig": chrom, "pos": pos, "strand": strand, "site": site, "state": tissues.state}
    with atomic(folder / FILE) as path:
        with h5py.File(path, "w", libver=("v110", "v110")) as file:
            for name, values in columns.items():
                checked = {"fletcher32": True, "chunks": True} if len(order) else {}
                file.create_dataset(name, data=values[order], track_times=False, **checked)
            form = schema.load("shard_tissues")
            file.attrs["format"], file.attrs["version"] = form.name, form.version
            file.attrs["tissues"], file.attrs["contigs"] = json.dumps(tissues.names), json.dumps(names)
        return {"name": FILE, "sha256": file_sha256(path), "tissues": tissues.names, "sites": len(order)}


class ShardTissues:
    """Reads FILE of a folder of shards. names: the tissues, in the order of the states."""

    def __init__(self, folder: Path, entry: dict):
        path = folder / entry["name"]
        if not path.exists():
            raise MetaError(f"no such file, {path}; make the shards again")
        if file_sha256(path) != entry["sha256"]:
            raise damaged(path, "its sha256 is not that of the manifest")
        self.names = list(entry["tissues"])
        with h5py.File(path, "r") as file:
            contigs = json.loads(file.attrs["contigs"])
            contig, pos, strand = (file[k][:] for k in ("contig", "pos", "strand"))
            site, state = file["site"][:], file["state"][:]
        self._rows = {}
        for i in np.unique(contig).tolist():
            for sign, word in ((1, "+"), (-1, "-")):
                mine = np.flatnonzero((contig == i) & (strand == sign))
                self._rows[contigs[i], word] = pos[mine], site[mine], state[mine]

    def read(self, region: ShardRegion, low: int, high: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(position int64 (k,) from `low` on, site uint8 (k,), state int8 (k, T)) of the bases [low, high) of a region,
        in transcript orientation, ascending; the region's flanks are told of like its core.
        """
        nothing = np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros((0, len(self.names)), np.int8)
        pos, site, state = self._rows.get((region.chrom, region.strand), nothing)
        origin, low, high = low, max(low, 0), min(high, region.length)
        minus = region.strand == "-"
        first, last = (region.end - high, region.end - low) if minus else (region.start + low, region.start + high)
        a, b = np.searchsorted(pos, (first, last))
        rows = slice(a, b) if not minus else slice(b - 1, a - 1 if a else None, -1)
        if a >= b:
            return nothing
        at = region.end - 1 - pos[rows] if minus else pos[rows] - region.start
        return at - origin, site[rows], state[rows]


def targets(
    label: np.ndarray, weight: np.ndarray, found: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(label uint8, weight float32), each (T, n): what each tissue has at every base.

    label, weight: (n,) of the shards. found: of ShardTissues.read for the same bases. An active site keeps its kind, an
    inactive one is neither, both with weight 1; a site that is not known in a tissue has weight 0 there, and so has one
    that is known in none.
    """
    at, site, state = found
    shown = label[at] == site  # not in flanks, and not where the other site of a base stands for it
    at, site, state = at[shown], site[shown], state[shown].T
    plain = label == NEITHER
    labels = np.full((len(state), len(label)), NEITHER, np.uint8)
    weights = np.tile(np.where(plain, weight, 0).astype(np.float32), (len(state), 1))
    labels[:, at] = np.where(state == ACTIVE, site, NEITHER)
    weights[:, at] = state != UNKNOWN
    return labels, weights
