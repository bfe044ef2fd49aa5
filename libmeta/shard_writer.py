"""Dense stream -> shards: bounded memory, the same bytes every time, and a kill costs no more than the file at hand."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from libmeta import schema
from libmeta.dense import Piece
from libmeta.errors import CUT_SHORT, MetaError
from libmeta.genome import reverse_complement
from libmeta.introns import NEITHER, SITE_NAMES
from libmeta.scaling import Sample
from libmeta.shards import ARRAYS, CHUNK, MANIFEST, NO_TIER, PARTIAL, PARTS, REGION, file_sha256
from libmeta.split import TRAIN, Split
from libmeta.streams import atomic

log = logging.getLogger("libmeta")
BASES = 1 << 24  # most bases of a file, unless one region has more
BLOCK = 32 * CHUNK  # bases held back before they are written, whole chunks at a time
_NAME = "shard-"
_TYPES = {"sequence": "u1", "base": "<f4", "channels": "<f2", "label": "u1", "weight": "<f4", "tier": "u1"}


@dataclass(frozen=True)
class Layout:
    """What stands in every file. contigs: names in the order of the region table. channels: as in the dense metadata."""

    contigs: list[str]
    base_models: list[dict]
    channels: list[dict]
    provenance: list[dict]

    def shape(self, name: str, bases: int) -> tuple[int, ...]:
        """Of a dataset."""
        first = {"base": (len(self.base_models), 2), "channels": (len(self.channels),)}
        return (*first.get(name, ()), bases)


# ---- what goes in ---------------------------------------------------------------------------------------------------


def prepare(channels: np.ndarray, described: list[dict], where: str) -> np.ndarray:
    """Raw channels (C, L) after log1p where they ask for it, float32.

    Raises MetaError for what has no logarithm or does not fit into float16.
    """
    out = channels.copy()
    for row, channel in zip(out, described, strict=True):
        if channel["log1p"]:
            with np.errstate(divide="ignore", invalid="ignore"):
                np.log1p(row, out=row, where=~np.isnan(row))
        known = ~np.isnan(channels[described.index(channel)])
        largest = np.abs(row[known]).max(initial=0)
        if not largest <= np.finfo(np.float16).max:  # NaN: the logarithm of what is below -1
            raise MetaError(f"a value of {channel['name']} does not fit into float16, {where}; mend its source track")
    return out


def stretches(mask: np.ndarray, flank: int) -> list[tuple[int, int]]:
    """[start, end) around the True of mask (L,), `flank` wider on both sides but inside [0, L); those that touch joined."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    out: list[tuple[int, int]] = []
    for low, high in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        low, high = max(low - flank, 0), min(high + flank, len(mask))
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return out


def turned(piece: Piece, labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a shard in transcript orientation; piece.channels prepared, labels as of in_part()."""
    arrays = {"sequence": piece.codes, "base": piece.base, "channels": piece.channels, **labels}
    if piece.strand == "-":
        arrays = {k: reverse_complement(v) if k == "sequence" else v[..., ::-1] for k, v in arrays.items()}
    return {k: np.ascontiguousarray(v, _TYPES[k]) for k, v in arrays.items()}


@dataclass
class Packed:
    """What pack() has seen beside what it wrote."""

    files: list[dict]
    counts: dict[str, dict]
    scales: list[tuple[float, float, int]]


def pack(
    pieces: Iterator[Piece],
    labeller: Callable,
    split: Split,
    layout: Layout,
    flank: int,
    writer: "ShardWriter",
    where: str,
    tell: Callable[[int], None],
) -> Packed:
    """Write the training and validation bases of pieces.

    labeller: see shard_labels.Labeller. where: the input's name, for errors. tell: called with the core bases done.
    """
    sample, counts = Sample(len(layout.channels)), {part: np.zeros((2, 4)) for part in PARTS}
    order = {name: i for i, name in enumerate(layout.contigs)}
    for piece in pieces:
        piece.channels = prepare(piece.channels, layout.channels, where)
        found = labeller(piece)
        position = np.arange(piece.start, piece.end)
        part = np.where(piece.core, split.assign(piece.chrom, position), np.uint8(255))
        train = part == TRAIN
        sample.add(piece.channels[:, train], order[piece.chrom], position[train], piece.strand == "-")
        for name, value in PARTS.items():
            mine = part == value
            labels = in_part(mine, value, *found)
            count(counts[name], labels["label"][mine], labels["weight"][mine])
            for low, high in stretches(mine, flank):
                at = piece.cut(piece.start + low, piece.start + high)
                writer.add(at, order[piece.chrom], value, turned(at, {k: v[low:high] for k, v in labels.items()}))
        tell(int(piece.core.sum()))
    return Packed(writer.close(), {k: told(v) for k, v in counts.items()}, sample.scales())


def in_part(
    mine: np.ndarray, part: int, label: np.ndarray, weight: np.ndarray, known: np.ndarray, tier: np.ndarray
) -> dict[str, np.ndarray]:
    """label, weight and tier as they stand in a part: its own bases (`mine`) only; what is known for training only has no
    weight in another part, but its class. All (L,).
    """
    counted = np.where(mine & (part == TRAIN) | mine & ~known, weight, np.float32(0))
    return {
        "label": np.where(mine, label, np.uint8(NEITHER)),
        "weight": counted,
        "tier": np.where(mine, tier, np.uint8(NO_TIER)),
    }


def count(counts: np.ndarray, label: np.ndarray, weight: np.ndarray) -> None:
    """Add to (2, 4): how many, and the weights, of donor, acceptor, neither and masked."""
    kind = np.where(weight > 0, label, 3)
    counts[0] += np.bincount(kind, minlength=4)
    counts[1] += np.bincount(kind, weights=weight, minlength=4)


def told(counts: np.ndarray) -> dict:
    """What count() has added up, by name."""
    names = (*SITE_NAMES, "masked")
    plain = {n: int(v) for n, v in zip(names, counts[0], strict=True)}
    return {**plain, "weighted": {n: float(v) for n, v in zip(SITE_NAMES, counts[1], strict=False)}}


# ---- files ----------------------------------------------------------------------------------------------------------


class ShardWriter:
    """Writes shard-00000.h5, ... into a folder; a context manager that leaves nothing half written.

    key: what the content follows from (to be written as JSON). Files that an earlier run with the same key has finished,
    by manifest.partial, are not written again: their content is only compared with what comes. Where the input is wrong
    nothing is kept. Raises MetaError where the folder is in use for other shards that are not finished, or for something
    else.
    """

    def __init__(self, folder: str | Path, layout: Layout, key: dict, bases: int = BASES):
        self.folder, self.layout, self.most = Path(folder), layout, bases
        self.key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self.files: list[dict] = []
        self.written = 0  # files written by this run
        self._file: _File | None = None
        self._finished = self._prepare_folder()

    def _prepare_folder(self) -> list[dict]:
        if not self.folder.parent.is_dir():
            raise MetaError(f"no folder to write to, {self.folder.parent}; make it first")
        if self.folder.is_file():
            raise MetaError(f"a file where a folder is needed, {self.folder}; name a folder with -o")
        if self.folder.exists() and any(self.folder.iterdir()) and not _is_ours(self.folder):
            raise MetaError(f"the folder holds something else, {self.folder}; name another with -o")
        self.folder.mkdir(exist_ok=True)
        partial = self.folder / PARTIAL
        found = json.loads(partial.read_text(encoding="utf-8")) if partial.exists() else {"key": self.key, "files": []}
        if found["key"] != self.key:
            raise MetaError(
                f"unfinished shards of another command or input, {self.folder}; remove it, or name another with -o"
            )
        self._remember(found["files"])
        (self.folder / MANIFEST).unlink(missing_ok=True)  # from here on the folder does not look whole
        for old in self.folder.glob(f"{_NAME}*.h5"):
            if old.name not in [f["name"] for f in found["files"]]:
                old.unlink()
        return found["files"]

    def _remember(self, files: list[dict]) -> None:
        with atomic(self.folder / PARTIAL) as path:
            text = json.dumps({"key": self.key, "files": files}, indent=1, sort_keys=True)
            path.write_text(text + "\n", encoding="utf-8")

    def __enter__(self):
        return self

    def add(self, piece: Piece, contig: int, part: int, arrays: dict[str, np.ndarray]) -> None:
        """A region: its place, and its arrays as of turned()."""
        length = piece.end - piece.start
        if self._file is not None and self._file.bases + length > self.most:
            self._close_file()
        if self._file is None:
            self._file = self._open_file()
        row = (contig, piece.start, piece.end, 1 if piece.strand == "+" else -1, self._file.bases, part)
        self._file.add(row, arrays)

    def _open_file(self) -> "_File":
        name, index = f"{_NAME}{len(self.files):05d}.h5", len(self.files)
        path = self.folder / name
        if index < len(self._finished):
            before = self._finished[index]
            if path.exists() and file_sha256(path) == before["sha256"]:
                return _File(None, self.layout, before)
        return _File(path, self.layout, None)

    def _close_file(self) -> None:
        file, self._file = self._file, None
        entry = file.close()
        self.files.append(entry)
        if file.path is not None:
            self.written += 1
            self._finished[len(self.files) - 1 :] = [entry]
            self._remember(self._finished)

    def close(self) -> list[dict]:
        """Finish the last file; the files' entries for the manifest."""
        if self._file is not None:
            self._close_file()
        return [{k: v for k, v in f.items() if k != "content"} for f in self.files]

    def manifest(self, values: dict) -> None:
        """Write manifest.json: from here on the folder is whole."""
        form = schema.load("shards")
        with atomic(self.folder / MANIFEST) as path:
            text = json.dumps({"format": form.name, "version": form.version, **values}, indent=1, sort_keys=True)
            path.write_text(text + "\n", encoding="utf-8")
        (self.folder / PARTIAL).unlink()

    def __exit__(self, kind, error, trace):
        if self._file is not None:
            self._file.abandon()
        wrong = isinstance(error, MetaError) and error.code != CUT_SHORT
        if kind is not None and (wrong or not self._finished):
            for path in (*(self.folder / f["name"] for f in self._finished), self.folder / PARTIAL):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something of the user's is in it
                self.folder.rmdir()


def _is_ours(folder: Path) -> bool:
    """Whether shards, finished or not, are in the folder."""
    if (folder / PARTIAL).exists():
        return True
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("format") == schema.load("shards").name
    except (OSError, ValueError, AttributeError):
        return False


class _File:
    """One shard being written, or (path None) compared with `before`, its entry in manifest.partial."""

    def __init__(self, path: Path | None, layout: Layout, before: dict | None):
        self.path, self.layout, self.before = path, layout, before
        self.bases, self._rows, self._held, self._waiting = 0, [], [], 0
        self._content = hashlib.blake2b(digest_size=16)
        self._stack = contextlib.ExitStack()
        if path is not None:
            self._temporary = self._stack.enter_context(atomic(path))
            self._h5 = h5py.File(self._temporary, "w", libver=("v110", "v110"))
            self._stack.callback(self._h5.close)
            for name, dtype in _TYPES.items():
                if 0 not in layout.shape(name, 1):
                    self._dataset(name, dtype)

    def _dataset(self, name: str, dtype: str) -> None:
        """Empty, to grow along L."""
        shape = self.layout.shape(name, 0)
        self._h5.create_dataset(
            name, shape, dtype, chunks=self.layout.shape(name, CHUNK), maxshape=(*shape[:-1], None), fillvalue=ARRAYS[name],
            compression="gzip", compression_opts=1, shuffle=True, fletcher32=True, track_times=False,
        )  # fmt: skip

    def add(self, row: tuple, arrays: dict[str, np.ndarray]) -> None:
        self._rows.append(row)
        length = len(arrays["sequence"])
        self._content.update(repr(row).encode())
        for name in _TYPES:
            self._content.update(arrays[name])
        self.bases, self._waiting = self.bases + length, self._waiting + length
        if self.path is not None:
            self._held.append(arrays)
            if self._waiting >= BLOCK:
                self._write(self._waiting // CHUNK * CHUNK)

    def _write(self, bases: int) -> None:
        """Write the first `bases` of what is held back: whole chunks, but at the end of the file."""
        first = self.bases - self._waiting
        joined = {n: np.concatenate([a[n] for a in self._held], axis=-1) for n in _TYPES} if self._held else {}
        for name, values in joined.items():
            if name in self._h5:
                self._h5[name].resize(first + bases, axis=values.ndim - 1)
                self._h5[name][..., first:] = values[..., :bases]
        self._waiting -= bases
        self._held = [{n: v[..., bases:] for n, v in joined.items()}] if self._waiting else []

    def close(self) -> dict:
        """Finish the file; its entry. Raises MetaError where a finished file is not what would be written now."""
        content = self._content.hexdigest()
        if self.path is None:
            if content != self.before["content"]:
                raise MetaError(
                    f"the input is not what it was, {self.before['name']} of unfinished shards; remove the folder and pack anew"
                )
            return self.before
        self._write(self._waiting)
        for name, dtype in _TYPES.items():
            if name not in self._h5:
                self._h5.create_dataset(name, self.layout.shape(name, self.bases), dtype, track_times=False)
        self._h5.create_dataset(
            "regions", data=np.array(self._rows, REGION), track_times=False, fletcher32=True, chunks=True
        )
        form, layout = schema.load("shards"), self.layout
        self._h5.attrs["format"], self._h5.attrs["version"] = form.name, form.version
        for name in ("contigs", "base_models", "channels", "provenance"):
            self._h5.attrs[name] = json.dumps(getattr(layout, name), sort_keys=True)
        self._h5.close()
        sha256, size = file_sha256(self._temporary), self._temporary.stat().st_size
        self._stack.close()
        entry = {"name": self.path.name, "size": size, "sha256": sha256, "content": content}
        return {**entry, "bases": self.bases, "regions": len(self._rows)}

    def abandon(self) -> None:
        """Leave no trace of the file."""
        if self.path is not None:
            self._stack.__exit__(InterruptedError, InterruptedError(), None)
