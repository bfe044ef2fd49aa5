"""Shards with other labels: the bases, base scores and channels of packed ones, and the labels of another sites table.

Packing reads the genome, scores and every track; labels alone take seconds.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from libmeta.dense import Piece
from libmeta.errors import USAGE, MetaError
from libmeta.genome import reverse_complement
from libmeta.introns import NEITHER
from libmeta.shard_writer import Layout, ShardWriter, count, in_part, told
from libmeta.shards import PARTS, ShardRegion, Shards, file_sha256, open_shard
from libmeta.streams import atomic


def lengths(shards: Shards) -> dict[str, int]:
    """{contig: a length that it has at least}, in the order of the shards: they do not tell how long contigs are."""
    path = shards.folder / shards.manifest["files"][0]["name"]
    with open_shard(path) as file:
        found = dict.fromkeys(json.loads(file.attrs["contigs"]), 1 << 40)
    return found


def relabel(
    shards: Shards, labeller: Callable, folder: str | Path, values: dict, where: str, tell: Callable[[int], None]
) -> dict:
    """Write the shards to a folder with the labels of a labeller (see shard_labels.Labeller); the counts by part.

    values: entries of the manifest that change: recipe, rule, provenance. where: the sites table, for errors. tell: called
    with the bases done. Raises MetaError for shards whose masked bases are not known from the flanks (labels of m3).
    """
    if Path(folder).resolve() == shards.folder.resolve():
        raise MetaError(f"the shards themselves, -o {folder}; name another folder", USAGE)
    if shards.manifest["recipe"] == "m3":
        raise MetaError(f"labels of m3 mask whole genes, {shards.folder}; pack from ms-features --dense instead", USAGE)
    counts, files = {name: np.zeros((2, 4)) for name in PARTS}, []
    layout = Layout([], [], [], values["provenance"])
    with ShardWriter(folder, layout, values) as writer:
        try:
            for entry in shards.manifest["files"]:
                with atomic(writer.folder / entry["name"]) as path:
                    shutil.copyfile(shards.folder / entry["name"], path)
                    _rewrite(path, shards, entry["name"], labeller, counts, values["provenance"])
                    sha256, size = file_sha256(path), path.stat().st_size
                files.append({**entry, "sha256": sha256, "size": size})
                tell(entry["bases"])
            labeller.check(where)
        except BaseException:
            for entry in files:
                (writer.folder / entry["name"]).unlink(missing_ok=True)
            raise
        found = {name: told(v) for name, v in counts.items()}
        writer.manifest(
            {
                **{k: v for k, v in shards.manifest.items() if k not in ("format", "version")},
                **values,
                "files": files,
                "counts": found,
            }
        )
    return found


def _rewrite(path: Path, shards: Shards, name: str, labeller: Callable, counts: dict, provenance: list) -> None:
    """Label, weight and tier of one file, in place."""
    with h5py.File(path, "r+") as file:
        codes, label, weight, tier = (file[n][:] for n in ("sequence", "label", "weight", "tier"))
        for part, value in PARTS.items():
            for region in [r for r in shards.regions(part) if r.file == name]:
                at = slice(region.offset, region.offset + region.length)
                # a masked base keeps its class; flanks are neither without weight
                core = (weight[at] > 0) | (label[at] != NEITHER)
                found = [_turn(a, region) for a in labeller(_piece(region, codes[at], core))]
                made = in_part(core, value, *found)
                label[at], weight[at], tier[at] = made["label"], made["weight"], made["tier"]
                count(counts[part], label[at][core], weight[at][core])
        file["label"][:], file["weight"][:], file["tier"][:] = label, weight, tier
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)


def _piece(region: ShardRegion, codes: np.ndarray, core: np.ndarray) -> Piece:
    """The region as a labeller wants it: plus strand, genome orientation."""
    plus = reverse_complement(codes) if region.strand == "-" else codes
    nothing = np.zeros((0, 2, region.length), np.float32), np.zeros((0, region.length), np.float32)
    return Piece(region.chrom, region.start, region.end, region.strand, plus, _turn(core, region), *nothing)


def _turn(values: np.ndarray, region: ShardRegion) -> np.ndarray:
    """Between genome and transcript orientation."""
    return values[::-1] if region.strand == "-" else values
