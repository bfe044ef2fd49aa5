"""Training shards: a folder of HDF5 files and a manifest, read region by region in transcript orientation."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from libmeta import schema
from libmeta.errors import MetaError
from libmeta.introns import NEITHER
from libmeta.split import TRAIN, VALID

MANIFEST, PARTIAL = "manifest.json", "manifest.partial"
PARTS = {"train": TRAIN, "valid": VALID}
CHUNK = 1 << 14  # bases of a chunk of a dataset
NO_TIER = 255  # of a base that is no annotated site
# and what is unknown
ARRAYS = {"sequence": 0, "base": np.nan, "channels": np.nan, "label": NEITHER, "weight": 0, "tier": NO_TIER}
REGION = np.dtype(
    [("contig", "<i4"), ("start", "<i8"), ("end", "<i8"), ("strand", "i1"), ("offset", "<i8"), ("part", "u1")]
)


@dataclass(frozen=True)
class ShardRegion:
    """[start, end) of a strand, 0-based half-open, flanks included: `length` bases from `offset` of a file."""

    file: str
    offset: int
    length: int
    chrom: str
    start: int
    end: int
    strand: str


class Shards:
    """A finished folder of ms-shard.

    manifest: its manifest.json. base_names, channels, flank: as there. Files are opened when they are first read, once in
    each process, so that it may be handed to workers. Raises MetaError for a folder that is not of ms-shard, is not
    finished, or lacks a file or part of one; damage inside a file is found where it is read, all of it by check().
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.tissues = None  # sites by tissue, where there are some
        if "tissues" in self.manifest:
            from libmeta.shard_tissues import ShardTissues

            self.tissues = ShardTissues(self.folder, self.manifest["tissues"])
        self.base_names = [m["name"] for m in self.manifest["base_models"]]
        self.channels, self.flank = self.manifest["channels"], self.manifest["flank"]
        for entry in self.manifest["files"]:
            _check_size(self.folder / entry["name"], entry["size"])
        self._open: dict[tuple[int, str], h5py.File] = {}
        self._regions: dict[str, list[ShardRegion]] | None = None
        self._rows: dict[str, list[int]] = {}  # of the datasets base and channels, where only some are wanted

    def __getstate__(self):
        return {**self.__dict__, "_open": {}}

    def _file(self, name: str) -> h5py.File:
        key = (os.getpid(), name)
        if key not in self._open:
            self._open[key] = open_shard(self.folder / name)
        return self._open[key]

    def take(self, base_names: list[str], channel_names: list[str]) -> None:
        """From now on read these base models and channels only, in this order; all must be there."""
        entries = {c["name"]: c for c in self.manifest["channels"]}
        self._rows = {
            "base": [[m["name"] for m in self.manifest["base_models"]].index(n) for n in base_names],
            "channels": [list(entries).index(n) for n in channel_names],
        }
        self.base_names, self.channels = list(base_names), [entries[n] for n in channel_names]

    def regions(self, part: str) -> list[ShardRegion]:
        """Regions of part "train" or "valid", in the order of the files."""
        if self._regions is None:
            self._regions = {p: [] for p in PARTS}
            for entry in self.manifest["files"]:
                found = region_table(self._file(entry["name"]), self.folder / entry["name"])
                for name, value in PARTS.items():
                    self._regions[name] += [r for r, p in found if p == value]
        return self._regions[part]

    def read(self, region: ShardRegion, low: int, high: int) -> dict[str, np.ndarray]:
        """Arrays of the bases [low, high) of a region, in transcript orientation, counted from its first base there.

        sequence uint8 (n,), base float32 (K, 2, n), channels float32 (C, n) after log1p where the channel has it, label
        uint8 (n,), weight float32 (n,), tier uint8 (n,). What lies outside the region is unknown: code 0, NaN, neither with
        weight 0, NO_TIER.
        """
        out = {name: self._filled(region, name, low, high) for name in ARRAYS}
        out["channels"] = out["channels"].astype(np.float32)
        return out

    def labels(self, region: ShardRegion, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """(label, weight) as read() has them."""
        return self._filled(region, "label", low, high), self._filled(region, "weight", low, high)

    def _filled(self, region: ShardRegion, name: str, low: int, high: int) -> np.ndarray:
        inside = max(low, 0), min(high, region.length)
        found = self._slice(region, name, *inside)
        if inside == (low, high):
            return found
        whole = np.full((*found.shape[:-1], high - low), ARRAYS[name], found.dtype)
        at = min(max(-low, 0), high - low)
        whole[..., at : at + found.shape[-1]] = found
        return whole

    def _slice(self, region: ShardRegion, name: str, low: int, high: int) -> np.ndarray:
        data = self._file(region.file)[name]
        first = region.offset + min(low, region.length)
        try:
            found = data[..., first : max(region.offset + high, first)]
        except OSError as error:
            raise damaged(self.folder / region.file, f"dataset {name}") from error
        return found[self._rows[name]] if name in self._rows else found

    def sites(self, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(index into regions(part), position within the region, label) of all sites that count, each (n,)."""
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8))]
        for i, region in enumerate(self.regions(part)):
            label = self._slice(region, "label", 0, region.length)
            at = np.flatnonzero(label != NEITHER)
            if len(at):
                at = at[self._slice(region, "weight", 0, region.length)[at] > 0]
            found.append((np.full(len(at), i), at, label[at]))
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def spans(self, part: str) -> list[list]:
        """[contig, start, end] from the first to the last base of a part on each contig, flanks included."""
        found: dict[str, list] = {}
        for region in self.regions(part):
            low, high = found.get(region.chrom, (region.start, region.end))
            found[region.chrom] = [min(low, region.start), max(high, region.end)]
        return [[chrom, *ends] for chrom, ends in found.items()]

    def check(self) -> int:
        """Compare every file with its checksum in the manifest; bases in them. Raises MetaError for the first that differs."""
        for entry in self.manifest["files"]:
            path = self.folder / entry["name"]
            if file_sha256(path) != entry["sha256"]:
                raise damaged(path, "its sha256 is not that of the manifest")
        return sum(e["bases"] for e in self.manifest["files"])


def read_manifest(folder: Path) -> dict:
    """manifest.json of a folder, checked for format and version."""
    path, form = folder / MANIFEST, schema.load("shards")
    if not path.exists():
        if (folder / PARTIAL).exists():
            raise MetaError(f"unfinished shards, {folder}; give the same ms-shard command again")
        raise MetaError(f"no shards ({MANIFEST}), {folder}; make them with ms-shard -o {folder}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MetaError(f"damaged manifest, {path}; make the shards again") from error
    if not isinstance(found, dict) or found.get("format") != form.name:
        raise MetaError(f"not a manifest of shards, {path}; give a folder of ms-shard")
    if found.get("version") != form.version:
        raise MetaError(
            f"shards version {found.get('version')}, {path}; this is version {form.version}: make them again"
        )
    if lacking := [k["name"] for k in form.keys if k["name"] not in found and not k.get("optional")]:
        raise MetaError(f"no key {lacking[0]}, {path}; make the shards again")
    return found


def _check_size(path: Path, size: int) -> None:
    if not path.exists():
        raise MetaError(f"no such shard, {path}; make the shards again")
    if path.stat().st_size != size:
        raise damaged(path, f"{path.stat().st_size:,} bytes where the manifest says {size:,}")


def open_shard(path: Path) -> h5py.File:
    """Open a shard for reading; MetaError where it is no HDF5 of ours."""
    try:
        # a chunk of every dataset at hand: windows are read at random
        file = h5py.File(path, "r", rdcc_nbytes=8 << 20)
        if file.attrs.get("format") != "shards":
            raise MetaError(f"HDF5, but not of ms-shard, {path}; give a shard")
        if file.attrs["version"] != schema.load("shards").version:
            raise MetaError(f"shards version {file.attrs['version']}, {path}; make the shards again")
    except OSError as error:
        raise damaged(path, "it cannot be opened as HDF5") from error
    return file


def region_table(file: h5py.File, path: Path) -> list[tuple[ShardRegion, int]]:
    """[(region, part), ...] of a shard."""
    try:
        rows, names = file["regions"][:], json.loads(file.attrs["contigs"])
    except (OSError, KeyError) as error:
        raise damaged(path, "its region table") from error
    return [
        (ShardRegion(path.name, o, e - s, names[c], s, e, "+" if d > 0 else "-"), p)
        for c, s, e, d, o, p in rows.tolist()
    ]


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def damaged(path: Path, what: str) -> MetaError:
    """The error of a shard that is not as it was written."""
    return MetaError(f"damaged shard, {path}: {what}; make the shards again")
