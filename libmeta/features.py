"""Regions -> feature rows: windows of the genome, sampled positions, one array per modality column."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from libmeta import modalities, processes, schema
from libmeta.config import Config
from libmeta.errors import USAGE, MetaError
from libmeta.genome import Genome
from libmeta.introns import NEITHER
from libmeta.modalities import Absent
from libmeta.modalities.base_scores import REACH as MARGIN
from libmeta.regions import Region, windows
from libmeta.sampling import Sampling, draw
from libmeta.scores import open_entry
from libmeta.site_index import SiteIndex

STRETCH = 1 << 18  # most bases computed at once: arrays stay in the processor's cache
STRETCH_ROWS = 1 << 15  # and about as many rows, at most twice that: memory does not grow with their density
NEAR = 1 << 14  # bp between regions that are read as one: that costs less than to call every reader once more
LATE = 16  # stretches after which rows are passed on even where they do not fill a batch


class Sources:
    """Everything that modalities read from: genome, configuration, base scores, labels.

    threads: of a base model that is run where scores are wanted.
    """

    def __init__(self, config: Config, genome: Genome, labels: SiteIndex | None = None, threads: int | None = None):
        self.config, self.genome, self.labels = config, genome, labels
        _check_names(config)
        self.base_scores = {n: open_entry(e, genome, threads=threads) for n, e in config.base_scores.items()}

    @property
    def has_genes(self) -> bool:
        return self.labels is not None

    def facts(self, chrom: str, strand: str, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Label facts, see SiteIndex.facts."""
        return self.labels.facts(chrom, strand, positions)

    def gene_bounds(self, chrom: str, strand: str, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(start, end) of the gene that holds each position, 0-based half-open, float64 (n,), NaN outside genes."""
        if self.labels is None:
            return np.full(len(positions), np.nan), np.full(len(positions), np.nan)
        owner = self.labels.gene_of(chrom, strand, positions)
        spans = np.array([g[6:8] for g in self.labels.genes] or [(0, 0)], np.float64)[np.clip(owner, 0, None)]
        spans[owner < 0] = np.nan
        return spans[:, 0], spans[:, 1]


def _check_names(config: Config) -> None:
    """A mistyped [modalities.NAME] or key in it is an error, not a source that is quietly left out."""
    for name, entry in config.values.get("modalities", {}).items():
        known = modalities.get(name, f"[modalities.{name}] in {config.name}").KEYS
        if unknown := sorted(set(entry if isinstance(entry, dict) else ()) - set(known)):
            raise MetaError(
                f"unknown key {unknown[0]}, [modalities.{name}] in {config.name}; known: {', '.join(known) or 'none'}",
                USAGE,
            )


@dataclass
class Window:
    """[start, end) of a contig on one strand; dense base scores are read once and shared by all who ask."""

    sources: Sources
    chrom: str
    start: int
    end: int
    strand: str
    _scores: dict = field(default_factory=dict)

    def base_scores(self, name: str, margin: int) -> tuple[np.ndarray, np.ndarray]:
        """(donor, acceptor) of [start - margin, end + margin) of one base model, genome orientation."""
        if name not in self._scores:
            source = self.sources.base_scores[name]
            self._scores[name] = source.read(self.chrom, self.start - MARGIN, self.end + MARGIN, self.strand)
        cut = MARGIN - margin
        return tuple(track[cut : len(track) - cut] for track in self._scores[name])


def open_readers(sources: Sources, wanted: list[str], must: bool) -> tuple[dict, list[str]]:
    """{modality: reader} of those that have a source, and the names of those that have none.

    must: a modality without a source is an error.
    """
    readers, absent = {}, []
    for name in wanted:
        try:
            readers[name] = modalities.get(name).open_source(sources)
        except Absent:
            if must:
                raise
            absent.append(name)
    return readers, absent


def settings(readers: dict) -> dict:
    """{modality.key: value} of what ms.toml says beside files that changes what is read, for provenance."""
    return {f"{n}.{k}": v for n, reader in readers.items() for k, v in getattr(reader, "settings", {}).items()}


def columns(readers: dict, labelled: bool) -> list[schema.Column]:
    """Columns of the stream: key, weight, labels if there are any, then the columns of each modality."""
    fixed = [c for c in schema.load("features").columns if labelled or not c.optional]
    further = [
        schema.Column(f"{name}.{c.name}", c.type, c.doc, c.role, name, c.unit, c.min, c.max, c.values, c.missing)
        for name, reader in readers.items()
        for c in reader.columns
    ]
    return fixed + further


def arrow_schema(readers: dict, labelled: bool) -> pa.Schema:
    """Arrow schema of the stream, without schema metadata."""
    return pa.schema([c.field for c in columns(readers, labelled)])


def rows(
    sources: Sources, readers: dict, regions: list[Region], sampling: Sampling, size: int, count: int = 1
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches of at most `size` rows, sorted by contig, position, strand; and the region bases (strand-wise) they cover.

    The bases of a stretch are told with the last batch of its rows. count: processes that compute; the batches are the same.
    """
    form = arrow_schema(readers, sources.labels is not None)
    held: list[pa.RecordBatch] = []
    bases = stretches = 0
    pieces = windows(regions, sources.genome.contigs, stretch(sampling))
    for batch, done in _stretches(sources, readers, pieces, sampling, count):
        held.append(batch)
        bases, stretches = bases + done, stretches + 1
        if stretches == LATE or sum(b.num_rows for b in held) >= size:
            yield from _batches(held, form, size, bases)
            held, bases, stretches = [], 0, 0
    if held:
        yield from _batches(held, form, size, bases)


def _batches(held: list, form: pa.Schema, size: int, bases: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    batches = pa.Table.from_batches(held, form).combine_chunks().to_batches(max_chunksize=size)
    batches = batches or [pa.RecordBatch.from_pylist([], form)]
    for i, batch in enumerate(batches, 1):
        yield batch, bases if i == len(batches) else 0


def stretch(sampling: Sampling) -> int:
    """Bases computed at once. It changes no row, only what they cost."""
    return min(STRETCH, max(int(STRETCH_ROWS / (2 * sampling.share())), STRETCH // 8))


def _stretches(
    sources: Sources, readers: dict, stretches: Iterator[list[Region]], sampling: Sampling, count: int
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The rows of each stretch and its bases."""
    if count == 1:
        work = Stretches(sources, readers, sampling)
        yield from ((work.rows(inside), _bases(inside)) for inside in stretches)
        return
    form = arrow_schema(readers, sources.labels is not None)
    with processes.Processes(count, open_stretches, *to_open(sources, readers), sampling) as crew:
        for packed, bases in crew.answers(stretches):
            yield pa.ipc.read_record_batch(pa.py_buffer(packed), form), bases


def process_count(sources: Sources, threads: int | None, regions: list[Region], bases: int = STRETCH) -> int:
    """Processes to read the regions with, so many bases at a time. Where a base model is run, it has the threads, and one
    process reads.
    """
    if any("model" in entry for entry in sources.config.base_scores.values()):
        return 1
    return processes.process_count(threads, sum(1 for _ in windows(regions, sources.genome.contigs, bases)))


def to_open(sources: Sources, readers: dict) -> tuple:
    """What open_again needs, as it pickles."""
    return sources.config, sources.genome.path, sources.labels, list(readers)


def open_again(config: Config, fasta: str, labels: SiteIndex | None, names: list[str]) -> tuple[Sources, dict]:
    """(sources, readers) in another process."""
    sources = Sources(config, Genome(fasta), labels)
    return sources, open_readers(sources, names, must=True)[0]


def open_stretches(config: Config, fasta: str, labels: SiteIndex | None, names: list[str], sampling: Sampling):
    """What turns a stretch into its packed rows and its bases, in another process."""
    work = Stretches(*open_again(config, fasta, labels, names), sampling)
    return lambda inside: (work.rows(inside).serialize().to_pybytes(), _bases(inside))


def _bases(inside: list[Region]) -> int:
    return sum(r.end - r.start for r in inside)


@dataclass
class Stretches:
    """Turns the regions of a stretch, of either strand, into rows."""

    sources: Sources
    readers: dict
    sampling: Sampling

    def __post_init__(self):
        self.form = arrow_schema(self.readers, self.sources.labels is not None)

    def rows(self, inside: list[Region]) -> pa.RecordBatch:
        """Sorted by position and strand."""
        found = (_part(self.sources, self.readers, run, self.sampling, self.form) for run in near(inside))
        parts = [part for part in found if part is not None]
        if not parts:
            return pa.RecordBatch.from_pylist([], self.form)
        table = pa.Table.from_batches(parts, self.form)
        key = (table["strand"].to_numpy(zero_copy_only=False) == "-", table["pos"].to_numpy())
        (batch,) = table.take(pa.array(np.lexsort(key))).combine_chunks().to_batches()
        return batch


def near(regions: list[Region]) -> list[list[Region]]:
    """Disjoint regions of a contig, sorted, as runs of one strand with at most NEAR bp between them.

    Runs of the same bases on both strands follow each other: readers keep what the second needs too.
    """
    runs: list[list[Region]] = []
    last: dict[str, list[Region]] = {}
    for region in regions:
        run = last.get(region.strand)
        if run is None or region.start - run[-1].end > NEAR:
            run = last[region.strand] = []
            runs.append(run)
        run.append(region)
    return sorted(runs, key=lambda run: (run[0].start, run[-1].end, run[0].strand))


def _part(
    sources: Sources, readers: dict, run: list[Region], sampling: Sampling, form: pa.Schema
) -> pa.RecordBatch | None:
    """The rows of regions of one strand that lie near each other."""
    region = replace(run[0], end=run[-1].end)
    window = Window(sources, region.chrom, region.start, region.end, region.strand)
    codes = sources.genome.codes(region.chrom, region.start - 2, region.end + 2, region.strand)
    score = None
    if sources.base_scores:
        score = np.fmax(*window.base_scores(next(iter(sources.base_scores)), 0))
    sites = np.zeros(0, np.int64)
    if sources.labels is not None:
        sites = sources.labels.positions(region.chrom, region.strand, region.start, region.end)
    positions, weights = draw(sampling, window, codes, score, sites)
    if len(run) > 1:
        start, end = (np.array([getattr(r, k) for r in run]) for k in ("start", "end"))
        inside = positions < end[np.searchsorted(start, positions, side="right") - 1]
        positions, weights = positions[inside], weights[inside]
    if not len(positions):
        return None
    arrays = {
        "chrom": [region.chrom] * len(positions),
        "pos": positions,
        "strand": [region.strand] * len(positions),
    }
    arrays["weight"] = weights
    if sources.labels is not None:
        arrays |= _labels(sources, region, positions)
    for name, reader in readers.items():
        arrays |= {f"{name}.{k}": v for k, v in reader.read(window, positions).items()}
    return pa.RecordBatch.from_arrays([pa.array(arrays[f.name], f.type, from_pandas=True) for f in form], schema=form)


def _labels(sources: Sources, region: Region, positions: np.ndarray) -> dict:
    facts = sources.facts(region.chrom, region.strand, positions)
    genes = sources.labels.genes
    owner = sources.labels.gene_of(region.chrom, region.strand, positions)
    named = np.array([g[4] for g in genes] or [""], object)[np.clip(owner, 0, None)]
    kind, weight = facts["label"], facts["weight"]
    if sources.labels.recipe is not None:  # positions without a row are what the recipe calls neither
        plain = facts["site"] == NEITHER
        kind = np.where(plain, NEITHER, kind)
        # m3 has its negatives in genes with junction evidence only
        weight = np.where(plain, facts["measured"] if sources.labels.recipe == "m3" else 1.0, weight)
    return {
        "label.site": facts["site"],
        "label.tier": facts["tier"],
        "label.reads": facts["reads"],
        "label.psi": facts["psi"],
        "label.measured": facts["measured"],
        "label.gene": np.where(owner >= 0, named, None),
        "label.class": kind,
        "label.weight": weight,
    }
