"""What must hold in a shard, read from end to end."""

import json
from pathlib import Path

import h5py
import numpy as np

from libmeta import schema
from libmeta.errors import MetaError
from libmeta.introns import NEITHER
from libmeta.labels import NOVEL
from libmeta.shards import NO_TIER, damaged, open_shard, region_table

_BLOCK = 1 << 20


def check_hdf5(path: Path) -> str:
    """A shard, or the sites by tissue beside shards."""
    try:
        with h5py.File(path, "r") as file:
            by_tissue = file.attrs.get("format") == "shard_tissues"
    except OSError as error:
        raise damaged(path, "it cannot be opened as HDF5") from error
    return check_tissues(path) if by_tissue else check_shard(path)


def check_tissues(path: Path) -> str:
    """Datasets, types, ranges and order of tissues.h5; what it is, in one line."""
    form = schema.load("shard_tissues")
    with h5py.File(path, "r") as file:
        for entry in form.datasets:
            if entry["name"] not in file or file[entry["name"]].dtype != np.dtype(entry["type"]):
                raise MetaError(f"no dataset {entry['name']} of type {entry['type']}, {path}; make the shards again")
        try:
            get = {entry["name"]: file[entry["name"]][:] for entry in form.datasets}
        except OSError as error:
            raise damaged(path, "a checksum of its data") from error
        tissues, contigs = (json.loads(file.attrs[k]) for k in ("tissues", "contigs"))
    n = len(get["pos"])
    key = np.stack([get["contig"], get["pos"], get["strand"]]).astype(np.int64)
    order = np.lexsort(key[::-1])
    wrong = {
        "contig": ((get["contig"] < 0) | (get["contig"] >= len(contigs))).any(),
        "strand": (np.abs(get["strand"]) != 1).any(),
        "site": (get["site"] > 1).any(),
        "state": get["state"].shape != (n, len(tissues)) or not np.isin(get["state"], (-1, 0, 1)).all(),
        "pos": (order != np.arange(n)).any() or (n > 1 and not (np.diff(key) != 0).any(axis=0).all()),
    }
    for name, bad in wrong.items():
        if bad:
            raise MetaError(f"value out of range or order in {name}, {path}; make the shards again")
    return f"{form.name} version {form.version}, {n:,} sites, {len(tissues)} tissues"


def check_shard(path: Path) -> str:
    """Datasets, types, shapes, ranges, region table and every checksum of one HDF5 file; what it is, in one line."""
    form = schema.load("shards")
    with open_shard(path) as file:
        for entry in form.datasets:
            _check_dataset(file, entry, path)
        length = len(file["sequence"])
        regions = region_table(file, path)
        at = 0
        for region, part in regions:
            if region.offset != at or region.length <= 0 or region.start < 0 or part not in (0, 1):
                raise damaged(path, f"region {region.chrom}:{region.start + 1}-{region.end} at {region.offset:,}")
            at += region.length
        if at != length:
            raise damaged(path, f"{length:,} bases where the regions have {at:,}")
        for start in range(0, length, _BLOCK):
            _check_block(file, slice(start, start + _BLOCK), path)
        models, channels = len(file["base"]), len(file["channels"])
    what = f"{length:,} bases, {len(regions)} regions, {models} base models, {channels} channels"
    return f"{form.name} version {form.version}, {what}"


def _check_dataset(file: h5py.File, entry: dict, path: Path) -> None:
    name = entry["name"]
    if name not in file:
        raise MetaError(f"no dataset {name}, {path}; shards need it")
    data = file[name]
    if entry["type"] != "compound" and data.dtype != np.dtype(entry["type"]):
        raise MetaError(f"dataset {name} is {data.dtype}, {path}; it should be {entry['type']}")
    if entry["type"] != "compound" and data.shape[-1] != len(file["sequence"]):
        raise damaged(path, f"dataset {name} has {data.shape[-1]:,} bases")


def _check_block(file: h5py.File, at: slice, path: Path) -> None:
    try:
        get = {n: file[n][..., at] for n in ("sequence", "base", "channels", "label", "weight", "tier")}
    except OSError as error:
        raise damaged(path, "a checksum of its data") from error
    base, weight = get["base"], get["weight"]
    wrong = {
        "sequence": (get["sequence"] > 4).any(),
        "base": ((base < 0) | (base > 1)).any(),
        "channels": np.isinf(get["channels"]).any(),
        "label": (get["label"] > NEITHER).any(),
        "weight": not (np.isfinite(weight) & (weight >= 0)).all(),
        "tier": ((get["tier"] > NOVEL) & (get["tier"] != NO_TIER)).any(),
    }
    for name, bad in wrong.items():
        if bad:
            raise MetaError(f"value out of range in {name} from base {at.start:,}, {path}; make the shards again")
