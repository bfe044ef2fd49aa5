"""What a saturation showed, laid out for a picture: the strongest signed effect of every allele of a region, by gene."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from libmeta.delta import Allele, Row
from libmeta.delta_rows import effects
from libmeta.errors import USAGE, MetaError
from libmeta.gene_index import Gene, GeneIndex, Transcript
from libmeta.regions import Region

WIDEST = 100_000  # bp of a picture
_SIGN = (1, -1, 1, -1)  # of KINDS
LETTERS = "ACGT"


@dataclass
class Panel:
    """One gene (None: no gene there, or none known) on its strand, [start, end) of a contig.

    labels: what each line of the arrays is: a letter (SNV to it), "+" and a letter (insertion), "-" and a number
    (deletion of so many bases). value: by model, float32 (lines, n), the strongest delta score, above 0 a gain, below a
    loss, NaN where there is no such allele; kind: int8, which of KINDS it is. donors, acceptors: bool (n,), annotated.
    """

    gene: Gene | None
    strand: str
    transcript: Transcript | None
    labels: list[str]
    donors: np.ndarray
    acceptors: np.ndarray
    value: dict[str, np.ndarray] = field(default_factory=dict)
    kind: dict[str, np.ndarray] = field(default_factory=dict)


class SaturationMap:
    """Collects scored alleles. codes: the region's bases, uint8 (n,); masked: which scores. MetaError beyond WIDEST."""

    def __init__(self, region: Region, codes: np.ndarray, genes: GeneIndex | None, longest_indel: int, masked: bool):
        if len(codes) > WIDEST:
            raise MetaError(
                f"{len(codes):,} bp are too wide to draw, --picture; name at most {WIDEST:,}, or leave the picture out",
                USAGE,
            )
        self.region, self.codes, self.genes, self.masked = region, codes, genes, masked
        self.labels = list(LETTERS)
        if longest_indel:
            self.labels += [f"+{x}" for x in LETTERS] + [f"-{n}" for n in range(1, longest_indel + 1)]
        self._line = {label: i for i, label in enumerate(self.labels)}
        self._panels: dict[tuple, Panel] = {}

    @property
    def panels(self) -> list[Panel]:
        """By strand and start of the gene."""
        return sorted(self._panels.values(), key=lambda p: (p.strand, p.gene.start if p.gene else -1))

    def add(self, found: Sequence[list[Allele]]) -> None:
        """Take up the alleles of records of a Saturation of the region."""
        for allele in (a for alleles in found for a in alleles if a.reason is None):
            at = allele.edit.start - self.region.start
            line = self._line[_label(allele)]
            for row in allele.rows:
                panel = self._panel(row)
                for model, effect in effects(row).items():
                    shown = effect.masked if self.masked else effect
                    best = int(shown.score.argmax())
                    if model not in panel.value:
                        shape = len(self.labels), len(self.codes)
                        panel.value[model] = np.full(shape, np.nan, np.float32)
                        panel.kind[model] = np.zeros(shape, np.int8)
                    panel.value[model][line, at] = _SIGN[best] * shown.score[best]
                    panel.kind[model][line, at] = best

    def _panel(self, row: Row) -> Panel:
        key = (row.gene.number if row.gene else None, row.strand)
        if key not in self._panels:
            span = self.region.chrom, self.region.start, self.region.end
            sites = np.zeros((2, len(self.codes)), bool)
            if self.genes is not None:
                sites = self.genes.annotated(span[0], row.strand, *span[1:])
            shown = self.genes.transcript(row.gene, *span) if row.gene else None
            self._panels[key] = Panel(row.gene, row.strand, shown, self.labels, *sites)
        return self._panels[key]


def _label(allele: Allele) -> str:
    edit = allele.edit
    if not edit.removed:
        return f"+{edit.inserted}"
    return edit.inserted or f"-{len(edit.removed)}"
