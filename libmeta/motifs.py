"""RNA motifs as position weight matrices, and all the k-mers that match them.

Matrices are in the text form of ATtRACT: a line `>ID<tab>LENGTH`, then a line of A C G U probabilities for each base. Its
table (tab-separated, columns Gene_name, Organism, Mutated, Matrix_id, Score) tells the protein of each matrix: human, not
mutated, with the best score of its experiment (**). Without a table the ID is the protein.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from libmeta.errors import MetaError
from libmeta.lines import reading

SHARE = 0.9  # of the highest score that a matrix can give: from there on a k-mer matches
LEAST = 7.0  # bits: matrices that cannot reach it say too little (a certain base says 2)
LONGEST = 12
_FLOOR = 1e-3  # of a probability
_ORGANISM = "Homo_sapiens"


@dataclass
class KmerMatches:
    """k-mers of one length that match: codes (base 4, A C G U = 0..3) sorted int32 (m,); those of code i are the rows
    first[i] .. first[i + 1] of protein int32 (p,) and score float64 (p,) bits, the best over the protein's matrices."""

    k: int
    codes: np.ndarray
    first: np.ndarray
    protein: np.ndarray
    score: np.ndarray


def read_matrices(path: str | Path) -> dict[str, np.ndarray]:
    """{ID: probabilities float64 (k, 4)}. Raises MetaError with the line for anything that is no such matrix."""
    found: dict[str, list[list[float]]] = {}
    rows: list[list[float]] | None = None
    with reading(path) as handle:
        for number, line in enumerate(handle, 1):
            where = f"{path} line {number}"
            text = line.decode("utf-8", "replace").strip()
            if text.startswith(">"):
                name = text[1:].split("\t")[0].split()[0] if text[1:].strip() else ""
                if not name or name in found:
                    raise MetaError(f"matrix {name!r} without a name or there twice, {where}; give each its own")
                rows = found[name] = []
            elif text:
                try:
                    row = [float(x) for x in text.split()]
                except ValueError:
                    row = []
                if rows is None or len(row) != 4 or not all(0 <= x <= 1 for x in row) or abs(sum(row) - 1) > 0.05:
                    raise MetaError(f"not the probabilities of A C G U, {where}; give matrices as ATtRACT has them")
                rows.append([x / sum(row) for x in row])  # ATtRACT rounds
    if empty := next((name for name, rows in found.items() if not rows), None):
        raise MetaError(f"matrix {empty} has no rows, {path}; remove it")
    if not found:
        raise MetaError(f"no matrix, {path}; give matrices as ATtRACT has them")
    return {name: np.array(rows) for name, rows in found.items()}


def proteins_of(path: str | Path) -> dict[str, set[str]]:
    """{matrix ID: gene symbols} of the table beside the matrices."""
    found: dict[str, set[str]] = {}
    with reading(path) as handle:
        text = (line.decode("utf-8", "replace") for line in handle)
        table = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
        needed = ("Gene_name", "Organism", "Mutated", "Matrix_id", "Score")
        if lacking := [n for n in needed if n not in (table.fieldnames or ())]:
            raise MetaError(f"no column {lacking[0]}, {path}; give ATtRACT's table")
        for row in table:
            whole = all(row[n] is not None for n in needed)
            if whole and row["Organism"] == _ORGANISM and row["Mutated"] == "no" and row["Score"].endswith("**"):
                found.setdefault(row["Matrix_id"], set()).add(row["Gene_name"].upper())
    if not found:
        raise MetaError(f"no human matrix, {path}; give ATtRACT's table")
    return found


def matches(
    matrices: dict[str, np.ndarray], proteins: dict[str, set[str]] | None
) -> tuple[list[str], list[KmerMatches]]:
    """(protein names, the matching k-mers of each length). Matrices of more than LONGEST bases are left out."""
    names: dict[str, int] = {}
    by_length: dict[int, list[tuple[np.ndarray, np.ndarray, int]]] = {}
    for name, matrix in matrices.items():
        owners = {name.upper()} if proteins is None else proteins.get(name, set())
        if not owners or len(matrix) > LONGEST:
            continue
        codes, scores = _kmers(np.log2(np.maximum(matrix, _FLOOR) / 0.25))
        for owner in sorted(owners) if len(codes) else ():
            index = names.setdefault(owner, len(names))
            by_length.setdefault(len(matrix), []).append((codes, scores, index))
    return list(names), [_merged(k, parts) for k, parts in sorted(by_length.items())]


def _kmers(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(codes, scores) of all k-mers that reach SHARE of the matrix's highest score, by branch and bound."""
    best = bits.max(axis=1)
    if best.sum() < LEAST:
        return np.zeros(0, np.int64), np.zeros(0)
    rest = np.concatenate([np.cumsum(best[::-1])[::-1][1:], [0.0]])
    codes, scores = np.zeros(1, np.int64), np.zeros(1)
    for row, still in zip(bits, rest, strict=True):
        codes = (codes[:, None] * 4 + np.arange(4)).ravel()
        scores = (scores[:, None] + row).ravel()
        keep = scores + still >= SHARE * best.sum() - 1e-9
        codes, scores = codes[keep], scores[keep]
    return codes, scores


def _merged(k: int, parts: list[tuple[np.ndarray, np.ndarray, int]]) -> KmerMatches:
    code = np.concatenate([p[0] for p in parts])
    score = np.concatenate([p[1] for p in parts])
    protein = np.concatenate([np.full(len(p[0]), p[2], np.int32) for p in parts])
    order = np.lexsort((-score, protein, code))
    code, score, protein = code[order], score[order], protein[order]
    new = np.r_[True, (code[1:] != code[:-1]) | (protein[1:] != protein[:-1])]
    code, score, protein = code[new], score[new], protein[new]
    codes, first = np.unique(code, return_index=True)
    return KmerMatches(k, codes.astype(np.int32), np.append(first, len(code)), protein, score)


def scan(sequence: np.ndarray, tables: list[KmerMatches]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first base, protein, score) of every match in base codes (L,) (0 N, 1..4 A C G T), by length and first base."""
    base, good = np.maximum(sequence.astype(np.int32) - 1, 0), sequence > 0
    code, known = np.zeros(len(sequence), np.int32), np.ones(len(sequence), bool)
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))]
    length = 0
    for table in tables:
        while length < table.k:  # the codes of length + 1 from those of length
            n = max(len(sequence) - length, 0)
            code, known = code[:n] * 4 + base[length:], known[:n] & good[length:]
            length += 1
        row = np.minimum(np.searchsorted(table.codes, code), len(table.codes) - 1)
        at = np.flatnonzero(known & (table.codes[row] == code))
        first, count = table.first[row[at]], table.first[row[at] + 1] - table.first[row[at]]
        pair = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        found.append((np.repeat(at, count), table.protein[pair], table.score[pair]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
