"""Scores as BED and as bigWigs with an IGV session."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta import igv
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.streams import atomic
from libmeta.tracks import ScoreWriter

TRACK_CONTEXT = 2000  # bases shown on each side of the first strong site when a session opens
STRONG = 0.5


class BedWriter:
    """Sites at or above a score as BED6+2: name donor or acceptor, score 0..1000, then refined and base probability."""

    def __init__(self, path: str, minimum: float, provenance: list[dict]):
        self.path, self.minimum, self.provenance = path, minimum, provenance
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._file = self._stack.enter_context(
            open(self._stack.enter_context(atomic(self.path)), "w", encoding="utf-8")
        )
        self._file.write(f"# ms.provenance={json.dumps(self.provenance, sort_keys=True)}\n")
        self._file.write("# chrom\tstart\tend\tsite\tscore\tstrand\trefined\tbase\n")
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a scores batch."""
        minimum = pa.scalar(self.minimum, pa.float32())
        strong = [pc.greater_equal(batch.column(site), minimum) for site in ("donor", "acceptor")]
        batch = batch.filter(pc.or_kleene(*strong))  # few of all bases: the rest never become Python objects
        get = {f: batch.column(f).to_numpy(zero_copy_only=False) for f in batch.schema.names}
        found = []
        for site in ("donor", "acceptor"):
            for i in np.flatnonzero(get[site] >= self.minimum).tolist():
                p, base = get[site][i], get[f"base_{site}"][i]
                shown = f"{base:.6g}" if np.isfinite(base) else "."
                start = int(get["pos"][i])
                found.append(
                    (i, f"{get['chrom'][i]}\t{start}\t{start + 1}\t{site}\t{round(1000 * float(p))}\t"
                        f"{get['strand'][i]}\t{p:.6g}\t{shown}\n")
                )  # fmt: skip
        self._file.writelines(line for _, line in sorted(found, key=lambda x: x[0]))

    def __exit__(self, kind, error, trace):
        return self._stack.__exit__(kind, error, trace)


class TrackWriter:
    """Refined scores as bigWigs PREFIX.*, the base model's as PREFIX.base.*, and PREFIX.igv.xml, all atomic.

    Only scored positions have a value: a position model scores the positions that were sampled, a sequence model every
    base where its base model has a score. tissues: short names; PREFIX.TISSUE.* then take the place of PREFIX.*.
    """

    def __init__(
        self,
        prefix: str,
        genome: Genome,
        about: dict,
        about_base: dict,
        annotation: str | None,
        tissues: list[str] = (),
    ):
        self.prefix, self.genome, self.annotation = prefix, genome, annotation
        self.about, self.about_base = about, about_base
        self.prefixes = [f"{prefix}.{t}" for t in tissues] or [prefix]
        self._stack = contextlib.ExitStack()
        self.first: tuple[str, int] | None = None

    def __enter__(self):
        contigs = self.genome.contigs
        self.refined = [self._stack.enter_context(ScoreWriter(p, contigs, self.about)) for p in self.prefixes]
        self.base = self._stack.enter_context(ScoreWriter(f"{self.prefix}.base", contigs, self.about_base))
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a scores batch; batches come in genome order."""
        get = {f: batch.column(f).to_numpy(zero_copy_only=False) for f in batch.schema.names}
        lengths = self.genome.contigs.lengths
        for chrom in dict.fromkeys(get["chrom"]):
            last = int(get["pos"][get["chrom"] == chrom].max(initial=0))
            if last >= lengths.get(chrom, 0):
                raise MetaError(
                    f"position {chrom}:{last + 1:,} is not in the genome, {self.genome.path}; give the --genome of the features"
                )
            for strand in "+-":
                rows = (get["chrom"] == chrom) & (get["strand"] == strand)
                pos = get["pos"][rows]
                if not len(pos):
                    continue
                self.refined[0].sparse(chrom, strand, pos, get["donor"][rows], get["acceptor"][rows])
                self.base.sparse(chrom, strand, pos, get["base_donor"][rows], get["base_acceptor"][rows])
        strong = np.flatnonzero(np.maximum(get["donor"], get["acceptor"]) >= STRONG)
        if self.first is None and len(strong):
            self.first = (get["chrom"][strong[0]], int(get["pos"][strong[0]]))

    def dense(self, chrom: str, start: int, strand: str, refined: np.ndarray, base: np.ndarray) -> None:
        """Append consecutive bases from `start` on in genome orientation, ascending on each strand; NaN leaves a gap.

        refined: (2 or 3, n) donor, acceptor, ..., of tissues (T, 2 or 3, n); base: (2, n) of the base model.
        """
        each = refined if refined.ndim == 3 else refined[None]
        for writer, one in zip(self.refined, each, strict=True):
            writer.dense(chrom, start, strand, *one[:2])
        self.base.dense(chrom, start, strand, *base)
        if self.first is None and len(strong := np.flatnonzero(np.fmax(*each[0, :2]) >= STRONG)):
            self.first = (chrom, start + int(strong[0]))

    def __exit__(self, kind, error, trace):
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            chrom, pos = self.first or (next(iter(self.genome.contigs.lengths)), 0)
            length = self.genome.contigs.lengths[chrom]
            locus = f"{chrom}:{max(pos - TRACK_CONTEXT, 0) + 1}-{min(pos + TRACK_CONTEXT, length)}"
            path = Path(f"{self.prefix}.igv.xml")
            rows = {}
            for prefix in self.prefixes:
                tissue = prefix.removeprefix(self.prefix).removeprefix(".")
                rows[tissue] = {"base": f"{self.prefix}.base", tissue or "refined": prefix}
            with atomic(path) as temporary:
                text = igv.session(path, self.genome.path, rows, locus, self.annotation)
                temporary.write_text(text, encoding="utf-8")
