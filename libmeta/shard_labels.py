"""Labels of every base of a dense piece under a recipe."""

import numpy as np
import pyarrow as pa

from libmeta import dinucleotides
from libmeta.contigs import Contigs
from libmeta.dense import Piece
from libmeta.errors import USAGE, MetaError
from libmeta.genome import reverse_complement
from libmeta.introns import DONOR, NEITHER
from libmeta.labels import EVALUATION, assign_labels, check
from libmeta.shards import NO_TIER
from libmeta.site_index import SiteIndex
from libmeta.streams import Stream

FEWEST = 20  # sites that make a rate
LEAST_FIT = 0.5  # of them beside a splice dinucleotide: another build leaves 3 %


def open_sites(stream: Stream, contigs: Contigs) -> SiteIndex:
    """The sites table of ms-labels, laid out on the contigs of a dense stream."""
    meta = stream.expect("sites").metadata
    if "genes" not in meta:
        raise MetaError(f"no gene spans (ms.genes), {stream.name}; make the table with ms-labels")
    for chrom, _, end, _, gene, *_ in meta["genes"]:
        ours = contigs.resolve(chrom)
        if ours and end > contigs.lengths[ours]:
            raise MetaError(
                f"gene {gene} ends past {ours} ({contigs.lengths[ours]:,} bp), {stream.name}; likely another build"
            )
    table = stream.table()
    check(table, meta.get("recipe"), stream.name)
    about = meta.get("recipe"), meta.get("tiers", []), meta.get("rule", {})
    return SiteIndex(table, meta["genes"], contigs, *about)


def recipe(name: str | None, index: SiteIndex, where: str):
    """The recipe of that name; with none, the plainest that takes the labels of the sites table."""
    from libmeta import recipes

    if name is None and index.recipe is None:
        raise MetaError(
            f"no recipe, neither with --recipe nor in {where}; give --recipe m1-s, or label with ms-labels --recipe",
            USAGE,
        )
    if name is None and index.recipe in EVALUATION:
        raise MetaError(f"labels of {index.recipe} are to evaluate on, {where}; label with ms-labels --recipe m2")
    chosen = recipes.get(name or f"{index.recipe}-s")
    if chosen.target != "class":
        raise MetaError(
            f"target {chosen.target} of {chosen.name} has no classes, --recipe; give {chosen.labels}-s", USAGE
        )
    return chosen


class Labeller:
    """The label rule of a recipe on pieces; it also watches that sites stand beside splice dinucleotides.

    recipe: with labels ("m1", "m3"), target and reference_weight. options: of rule().
    """

    def __init__(self, index: SiteIndex, recipe, options: dict):
        self.index, self.recipe, self.options = index, recipe, options
        self.sites = self.fitting = 0

    def __call__(self, piece: Piece) -> tuple[np.ndarray, ...]:
        """(label uint8, weight float32, known bool, tier uint8) of the bases of a piece, each (L,), genome orientation.

        known marks annotated sites whose weight is for training only.
        """
        place = piece.chrom, piece.strand
        at = self.index.positions(*place, piece.start, piece.end)
        measured = self.index.measured(*place, np.arange(piece.start, piece.end))
        facts = self.index.facts(*place, at)
        label, weight, known = self._rule(facts)
        tier = np.where(np.isnan(facts["tier"]), NO_TIER, facts["tier"]).astype(np.uint8)
        # bases without a site differ in one thing only: the last two rows are theirs
        out = (
            np.full(len(measured), label[-1], np.uint8),
            weight[-2:][measured.astype(np.int8)],
            np.zeros(len(measured), bool),
            np.full(len(measured), NO_TIER, np.uint8),
        )
        for whole, values in zip(out, (label, weight, known, tier), strict=True):
            whole[at - piece.start] = values[: len(at)]
        self._watch(piece, at, facts["site"])
        return out

    def _rule(self, facts: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(label, weight, known) of the sites, then of a base without site that is not measured, and of one that is."""
        plain = {"site": NEITHER, "label": NEITHER}
        rows = {
            k: np.append(facts[k], [plain.get(k, np.nan)] * 2)
            for k in ("site", "tier", "reads", "psi", "breadth", "label", "weight")
        }
        rows["measured"] = np.append(facts["measured"], [False, True])
        rows["weight"][-2:] = (0, 1) if self.recipe.labels == "m3" else 1
        names = {
            **{k: f"label.{k}" for k in ("site", "tier", "reads", "psi", "breadth", "measured", "weight")},
            "label": "label.class",
        }
        batch = pa.RecordBatch.from_pydict({names[k]: pa.array(v) for k, v in rows.items()})
        target, weight, known = assign_labels(batch, self.recipe, self.options)
        return target[:, 0].astype(np.uint8), weight.astype(np.float32), known

    def _watch(self, piece: Piece, at: np.ndarray, site: np.ndarray) -> None:
        codes, index = piece.codes, at - piece.start
        if piece.strand == "-":
            codes, index = reverse_complement(codes), len(codes) - 1 - index
        whole = (index >= 2) & (index < len(codes) - 2)
        index, donor = index[whole], site[whole] == DONOR
        first = np.where(donor, index + 1, index - 2)
        fits, known = dinucleotides.fits(codes[first] * 5 + codes[first + 1], donor.astype(np.int64))
        self.sites, self.fitting = self.sites + int(known.sum()), self.fitting + int((fits & known).sum())

    def check(self, where: str) -> None:
        """Raises MetaError where too few sites stand beside a splice dinucleotide of the stream's sequence."""
        if self.sites >= FEWEST and self.fitting < LEAST_FIT * self.sites:
            raise MetaError(
                f"only {self.fitting:,} of {self.sites:,} sites stand beside a splice dinucleotide, {where}; it is likely of "
                "another build than the genome of the dense stream"
            )
