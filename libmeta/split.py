"""Train, validation and test by region or chromosome; part of every model."""

import zlib
from dataclasses import dataclass

import numpy as np

from libmeta.contigs import plain_name
from libmeta.errors import USAGE, MetaError
from libmeta.regions import region_fields

NAMED = {
    # Jaganathan et al. 2019; the base models were trained on the training part
    "spliceai": {
        "train": "2,4,6,8,10,11,12,13,14,15,16,17,18,19,20,21,22,X,Y",
        "valid": "",
        "test": "1,3,5,7,9",
    },
    # inside what the base models have not seen (science.md section 1, Splits)
    "held-out": {"train": "3,5,7", "valid": "9", "test": "1"},
}
TRAIN, VALID, TEST, UNUSED = 0, 1, 2, 3
BLOCK = 100_000
VALID_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Regions as (contig, start, end), 0-based half-open, end None for the contig's end; contigs match under any alias.

    train empty: all that is neither validation nor test. valid empty: blocks of 100 kb, one in five by a hash.
    """

    train: tuple = ()
    valid: tuple = ()
    test: tuple = ()
    name: str = "regions"

    def assign(self, chrom: str, positions: np.ndarray) -> np.ndarray:
        """TRAIN, VALID, TEST or UNUSED for each position of one contig, uint8 (n,)."""
        out = np.full(len(positions), UNUSED if self.train else TRAIN, np.uint8)
        if not self.valid:
            blocks, back = np.unique(positions // BLOCK, return_inverse=True)
            held = [zlib.crc32(f"{plain_name(chrom)}|{b}".encode()) % 1000 < 1000 * VALID_SHARE for b in blocks]
            inside = self._inside(self.train, chrom, positions) if self.train else np.ones(len(positions), bool)
            out[inside] = np.where(np.array(held, bool)[back], VALID, TRAIN)[inside]
        else:
            out[self._inside(self.train, chrom, positions)] = TRAIN
            out[self._inside(self.valid, chrom, positions)] = VALID
        out[self._inside(self.test, chrom, positions)] = TEST
        return out

    @staticmethod
    def _inside(regions: tuple, chrom: str, positions: np.ndarray) -> np.ndarray:
        hit = np.zeros(len(positions), bool)
        for contig, start, end in regions:
            if plain_name(contig) == plain_name(chrom):
                hit |= (positions >= start) & (positions < (np.inf if end is None else end))
        return hit

    def describe(self) -> dict:
        """For the model file."""
        parts = {k: [list(r) for r in getattr(self, k)] for k in ("train", "valid", "test")}
        return {"name": self.name, **parts}


def parse(split: str | None, train: tuple[str, ...], valid: tuple[str, ...], test: tuple[str, ...]) -> Split:
    """From --split NAME, or --train/--valid/--test regions (1-based on the command line, or whole contigs)."""
    if split:
        if split not in NAMED:
            raise MetaError(f"unknown split {split!r}, --split; known: {', '.join(NAMED)}", USAGE)
        if train or valid or test:
            raise MetaError("--split beside --train, --valid or --test; give one or the other", USAGE)
        parts = {k: tuple((c, 0, None) for c in v.split(",") if c) for k, v in NAMED[split].items()}
        return Split(**parts, name=split)
    parts = {"train": train, "valid": valid, "test": test}
    found = Split(**{k: tuple(region_fields(t)[:3] for t in v) for k, v in parts.items()})
    _refuse_overlap(found)
    return found


def _refuse_overlap(split: Split) -> None:
    named = [(k, r) for k in ("train", "valid", "test") for r in getattr(split, k)]
    for i, (kind, a) in enumerate(named):
        for other, b in named[i + 1 :]:
            same = plain_name(a[0]) == plain_name(b[0])
            if kind != other and same and a[1] < (b[2] or np.inf) and b[1] < (a[2] or np.inf):
                raise MetaError(f"--{kind} and --{other} overlap on {a[0]}; leave a gap between them", USAGE)
