"""FASTA access: base codes, reverse complement; 0-based half-open, real sequence inside, N outside."""

import os
from pathlib import Path

import numpy as np
import pysam

from libmeta.contigs import Contigs
from libmeta.errors import MetaError

# base codes: 0 = unknown (N, IUPAC, beyond the contig), 1..4 = A C G T; lower case (soft mask) is the same base
_CODE = np.zeros(256, np.uint8)
for _i, _letters in enumerate(("Aa", "Cc", "Gg", "TtUu"), start=1):
    for _letter in _letters:
        _CODE[ord(_letter)] = _i
_TABLE = _CODE.tobytes()
_COMPLEMENT = np.array([0, 4, 3, 2, 1], np.uint8)
_LETTERS = np.frombuffer(b"NACGT", np.uint8)
_LONG, _BESIDE = 1 << 16, 1 << 10  # bp of a stretch that is kept, and of what is kept beside it
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def encode(sequence: str | bytes) -> np.ndarray:
    """Letters -> codes, uint8 (L,): 0 unknown, 1..4 A C G T."""
    raw = sequence.encode() if isinstance(sequence, str) else sequence
    return np.frombuffer(bytearray(raw).translate(_TABLE), np.uint8)


def decode(codes: np.ndarray) -> str:
    """Codes -> letters, N for 0."""
    return _LETTERS[codes].tobytes().decode()


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Reverse complement of codes."""
    return _COMPLEMENT[codes[::-1]]


class Genome:
    """An indexed FASTA, plain or bgzipped. The index is made beside it when it is absent.

    Raises MetaError for a missing, truncated, empty or plainly gzipped file.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        _check(self.path)
        try:
            self._fasta = pysam.FastaFile(self.path)
        except (OSError, ValueError) as error:
            raise MetaError(
                f"cannot read or index the genome, {self.path}; check that it is FASTA (plain or bgzip) and that its "
                "folder is writable or holds the .fai"
            ) from error
        lengths = dict(zip(self._fasta.references, self._fasta.lengths, strict=True))
        if not lengths:
            raise MetaError(f"no sequence, {self.path}; give a FASTA with at least one contig")
        _check_index(self.path)
        self.contigs = Contigs(lengths, os.path.basename(self.path))
        self._long = ("", 0, np.zeros(0, np.uint8))  # contig, start and codes of the last long stretch

    def codes(self, chrom: str, start: int, end: int, strand: str = "+") -> np.ndarray:
        """Base codes of [start, end), uint8 (end - start,); code 0 beyond the contig; reverse complement on strand -."""
        length = self.contigs.lengths[chrom]
        low, high = max(start, 0), min(end, length)
        inside = self._inside(chrom, low, high) if low < high else np.zeros(0, np.uint8)
        if start < 0 or end > length:
            whole = np.zeros(end - start, np.uint8)
            offset = max(0, -start)
            whole[offset : offset + len(inside)] = inside
            inside = whole
        return reverse_complement(inside) if strand == "-" else inside

    def _inside(self, chrom: str, low: int, high: int) -> np.ndarray:
        """Codes of a stretch of the contig. A long one is kept: several ask for much the same, on both strands."""
        if high - low < _LONG:
            return encode(self._fasta.fetch(chrom, low, high))
        name, start, codes = self._long
        if name != chrom or low < start or high > start + len(codes):
            start = max(low - _BESIDE, 0)
            codes = encode(self._fasta.fetch(chrom, start, min(high + _BESIDE, self.contigs.lengths[chrom])))
            self._long = (chrom, start, codes)
        return codes[low - start : high - start].copy()


def _check(path: str) -> None:
    if not os.path.exists(path):
        raise MetaError(f"no such genome file, {path}; check --genome or [genome] fasta in ms.toml")
    with open(path, "rb") as handle:
        head = handle.read(18)
        if not head:
            raise MetaError(f"empty genome file, {path}; give a FASTA")
        if head[:2] == b"\x1f\x8b":
            if head[12:14] != b"BC":
                raise MetaError(f"gzip but not bgzip, {path}; run: gzip -dc {path} | bgzip > genome.fa.gz")
            handle.seek(-len(_BGZF_END), os.SEEK_END)
            if handle.read() != _BGZF_END:
                raise MetaError(f"truncated genome (no bgzip end block), {path}; copy or download it again")
        elif head[:1] not in b">;":
            raise MetaError(f"not FASTA (it does not start with '>'), {path}; give a FASTA")


def _check_index(path: str) -> None:
    """A plain FASTA that its index does not fit was truncated or changed after it was indexed."""
    if path.endswith((".gz", ".bgz")) or not os.path.exists(path + ".fai"):
        return
    with open(path + ".fai") as handle:
        name, length, offset, bases, width = handle.read().splitlines()[-1].split("\t")[:5]
    needed = int(offset) + (int(length) - 1) // int(bases) * int(width) + (int(length) - 1) % int(bases) + 1
    if os.path.getsize(path) < needed:
        raise MetaError(f"shorter than its index says (contig {name}), {path}; copy it again, or remove {path}.fai")
    with open(path + ".fai") as index, open(path, "rb") as fasta:
        for row in index:
            name, length, offset, bases, width = row.split("\t")[:5]
            fasta.seek(int(offset) - 1)
            first = fasta.read(int(width) + 1)
            whole_line = int(length) < int(bases) or first[int(width) :] == b"\n"
            if first[:1] != b"\n" or not whole_line or b"\n" in first[1 : min(int(bases), int(length)) + 1]:
                raise MetaError(f"not as its index says (contig {name}), {path}; remove {path}.fai, which is older")
