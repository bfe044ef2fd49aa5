"""What stands for a tissue beside its name: an expression profile of splicing factors, given as a table."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from libmeta import tissue_names
from libmeta.errors import MetaError
from libmeta.lines import reading


@dataclass(frozen=True)
class Profiles:
    """names (T,) and genes (G,); values float64 (T, G), as the table has them."""

    where: str
    names: list[str]
    genes: list[str]
    values: np.ndarray

    def of(self, wanted: list[str], genes: list[str] | None = None) -> np.ndarray:
        """Values (wanted, genes) by short names of tissues; MetaError for a tissue or gene that is not there."""
        rows = {tissue_names.short(n): i for i, n in enumerate(self.names)}
        if lacking := [n for n in wanted if tissue_names.short(n) not in rows]:
            raise MetaError(
                f"no profile of tissue {lacking[0]!r}, {self.where}; add its row, or leave the tissue out of the labels"
            )
        columns = {g: j for j, g in enumerate(self.genes)}
        if lacking := [g for g in genes or () if g not in columns]:
            raise MetaError(f"no gene {lacking[0]}, {self.where}; the model needs {len(genes)} genes: add the column")
        chosen = self.values[[rows[tissue_names.short(n)] for n in wanted]]
        return chosen if genes is None else chosen[:, [columns[g] for g in genes]]


def read(path: str | Path) -> Profiles:
    """A TSV or CSV, plain or gzip: a header of gene names behind one field, then a tissue and its numbers on each line.

    The numbers are taken as they are: give logarithms of expression. Raises MetaError for a gene or tissue that stands
    twice, and for a field that is empty or no number.
    """
    where = str(path)
    with reading(path) as handle:
        text = handle.read().decode("utf-8", "replace").splitlines()
    delimiter = "\t" if text and "\t" in text[0] else ","
    rows = [r for r in csv.reader(text, delimiter=delimiter) if r]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise MetaError(f"no profile, {where}; a header of genes, then one line for each tissue")
    genes, names = rows[0][1:], [r[0].strip() for r in rows[1:]]
    if twice := sorted({g for g in genes if genes.count(g) > 1}):
        raise MetaError(f"gene {twice[0]} stands twice, {where}; keep one column of each")
    tissue_names.check(names, where)
    values = np.empty((len(names), len(genes)))
    for i, row in enumerate(rows[1:]):
        if len(row) != len(genes) + 1:
            raise MetaError(f"{len(row) - 1} values of {len(genes)} for {names[i]}, {where} line {i + 2}; mend the row")
        for j, field in enumerate(row[1:]):
            values[i, j] = _number(field, f"{genes[j]} of {names[i]}, {where} line {i + 2}")
    return Profiles(where, names, genes, values)


def _number(field: str, what: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MetaError(f"{field.strip() or 'nothing'!r} is no number, {what}; give a value, or leave the gene out")
    return value


def standardised(profiles: Profiles, names: list[str]) -> dict:
    """The profiles of the tissues of a training, as the model keeps them: genes, centre, scale and profiles (T, G),
    centred and scaled over these tissues. Genes without any difference between them are left out.
    """
    values = profiles.of(names)
    centre, scale = values.mean(axis=0), values.std(axis=0)
    kept = np.flatnonzero(scale > 0)
    if not len(kept):
        raise MetaError(f"no gene differs between the tissues, {profiles.where}; give an expression table")
    centre, scale = centre[kept], scale[kept]
    return {
        "genes": [profiles.genes[j] for j in kept],
        "centre": centre.tolist(),
        "scale": scale.tolist(),
        "profiles": np.round((values[:, kept] - centre) / scale, 6).tolist(),
    }
