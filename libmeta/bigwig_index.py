"""The pieces that a bigWig is built of: compressed blocks, the contig tree, the R tree that finds a block by position.

Rows that must wait for the end of the file wait on disk (Spill): memory is that of one chunk.
"""

import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from libmeta.contigs import Contigs

CONTIG_MAGIC, INDEX_MAGIC = 0x78CA8C91, 0x2468ACE0
NODE_HEAD = struct.Struct("<BBH")  # is it a leaf, reserved, children
SLOT = 1024  # values in a section, summaries in a block
NODE = 256  # children of a node in either tree
LEVEL = 1  # of zlib: the mantissas of scores are noise, and level 6 takes twice the time to save 0.05 %

BOUNDS = np.dtype([("chrom", "<u4"), ("start", "<u4"), ("last_chrom", "<u4"), ("end", "<u4")])
LEAF = np.dtype([("bounds", BOUNDS), ("offset", "<u8"), ("size", "<u8")])


class Spill:
    """Rows of one dtype in a temporary file without a name in `folder`: appended, then read back a chunk at a time."""

    def __init__(self, dtype: np.dtype, folder: Path):
        self._dtype, self._rows = dtype, 0
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - stays open between appends

    def __len__(self) -> int:
        return self._rows

    def append(self, rows: np.ndarray) -> None:
        self._file.write(rows.tobytes())
        self._rows += len(rows)

    def chunks(self, rows: int = 16 * SLOT) -> Iterator[np.ndarray]:
        """Arrays of at most `rows` rows, in order."""
        self._file.seek(0)
        while raw := self._file.read(rows * self._dtype.itemsize):
            yield np.frombuffer(bytearray(raw), self._dtype)

    def close(self) -> None:
        self._file.close()


def write_block(file: BinaryIO, leaves: Spill, bounds: tuple[int, int, int, int], raw: bytes) -> None:
    packed = zlib.compress(raw, LEVEL)
    leaves.append(np.array([(bounds, file.tell(), len(packed))], LEAF))
    file.write(packed)


def write_contigs(file: BinaryIO, contigs: Contigs) -> None:
    """The contig tree: names in the order of their bytes, as readers search it, each with its number and length."""
    names = np.array([name.encode() for name in contigs.lengths])
    leaves = np.empty(len(names), [("name", names.dtype), ("number", "<u4"), ("length", "<u4")])
    leaves["name"], leaves["number"], leaves["length"] = names, range(len(names)), list(contigs.lengths.values())
    leaves = leaves[np.argsort(names, kind="stable")]
    file.write(struct.pack("<IIIIQQ", CONTIG_MAGIC, NODE, names.itemsize, 8, len(names), 0))
    _write_tree(file, leaves["name"][::NODE], lambda keys: keys[::NODE], [leaves], leaves.itemsize)


def write_index(file: BinaryIO, leaves: Spill) -> None:
    """The R tree of blocks in order of position."""
    at = file.tell()
    keys = np.concatenate([np.empty(0, BOUNDS), *(_span(chunk["bounds"]) for chunk in leaves.chunks())])
    whole = keys[[0, -1]] if len(keys) else np.zeros(2, BOUNDS)
    first, last = whole[0], whole[1]
    file.write(struct.pack("<IIQIIIIQII", INDEX_MAGIC, NODE, len(leaves), first["chrom"], first["start"],
                           last["last_chrom"], last["end"], at, SLOT, 0))  # fmt: skip
    _write_tree(file, keys, _span, leaves.chunks(), LEAF.itemsize)


def _span(bounds: np.ndarray) -> np.ndarray:
    """The bounds of each node from those of its children."""
    out = bounds[::NODE].copy()
    last = bounds[np.minimum(np.arange(len(out)) * NODE + NODE, len(bounds)) - 1]
    out["last_chrom"], out["end"] = last["last_chrom"], last["end"]
    return out


def _write_tree(
    file: BinaryIO, keys: np.ndarray, join: Callable, leaves: Iterable[np.ndarray], leaf_bytes: int
) -> None:
    """A tree of nodes of 256, from the root down, level by level, without padding.

    keys: one per leaf node. join: the keys of a level -> those of the level above. leaves: all items of the leaf nodes, in
    arrays of a multiple of 256 but the last.
    """
    levels = [keys]
    while len(levels[-1]) > 1:
        levels.append(join(levels[-1]))
    for depth in range(len(levels) - 1, 0, -1):
        below = levels[depth - 1]
        child_bytes = NODE_HEAD.size + NODE * (leaf_bytes if depth == 1 else keys.itemsize + 8)
        items = np.empty(len(below), [("key", keys.dtype), ("child", "<u8")])
        items["key"] = below
        after = file.tell() + items.nbytes + NODE_HEAD.size * len(levels[depth])
        items["child"] = after + child_bytes * np.arange(len(below), dtype=np.uint64)
        _write_nodes(file, items, leaf=False)
    for chunk in leaves:
        _write_nodes(file, chunk, leaf=True)
    if not len(keys):
        file.write(NODE_HEAD.pack(True, 0, 0))  # a root without children


def _write_nodes(file: BinaryIO, items: np.ndarray, leaf: bool) -> None:
    for at in range(0, len(items), NODE):
        node = items[at : at + NODE]
        file.write(NODE_HEAD.pack(leaf, 0, len(node)) + node.tobytes())
