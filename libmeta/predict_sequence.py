"""Apply a sequence model to every base of regions: pieces of either strand, real flanks, genome orientation out."""

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa

from libmeta import dense, modalities
from libmeta.config import Config
from libmeta.dense import Piece
from libmeta.encode import encode, logged, probabilities
from libmeta.errors import USAGE, MetaError
from libmeta.features import Sources, open_readers
from libmeta.genome import Genome, reverse_complement
from libmeta.predict import check_weights, scores_schema
from libmeta.regions import Region
from libmeta.scores import open_entry

PIECE = 200_000  # core bases read at a time: long against the context, small in memory
SHORTEST = 20_000
BATCH = 1 << 16  # bases that the network takes at a time: its activations stay in the processor's cache
UNIFORM = np.float32(1 / 3)


def piece_size(tissues: int) -> int:
    """Core bases to read at a time, so that the scores of many tissues take no more memory than those of a few."""
    return max(PIECE // max(tissues // 4, 1), SHORTEST)


# ---- what the model asks for ----------------------------------------------------------------------------------------


def wanted_modalities(model, without: tuple[str, ...]) -> list[str]:
    """Modalities of the model's channels that are to be read; MetaError for one to leave out that it does not have."""
    used = list(dict.fromkeys(c["modality"] for c in model.channels))
    if unknown := [name for name in without if name not in used]:
        has = f"the model uses {', '.join(used)}" if used else "the model uses none"
        raise MetaError(f"no modality {unknown[0]!r} to leave out, --without; {has}", USAGE)
    return [] if model.is_base else [name for name in used if name not in without]


def open_sources(
    model,
    config: Config,
    genome: Genome,
    without: tuple[str, ...] = (),
    labels=None,
    device: str = "auto",
    threads: int | None = None,
) -> tuple[Sources, dict]:
    """(Sources, readers) of exactly what a model asks for by name: base models, and modalities but those in `without`.

    labels: a SiteIndex, for modalities that depend on genes. device, threads: of a base model that is run. Raises
    MetaError for a base model that ms.toml does not name or whose weights are others than the model was trained on, and
    for a channel without a source.
    """
    known = config.base_scores
    names = [m["name"] for m in model.base_models]
    if lacking := [n for n in names if n not in known]:
        raise MetaError(
            f"no base scores of {lacking[0]}, which the model was trained on, {config.name}; make them with ms-basescore "
            f"and name them in [base_scores.{lacking[0]}]"
        )
    # base models that the model does not ask for are not opened
    sources = Sources(Config({**config.values, "base_scores": {}}, config.path), genome, labels)
    sources.base_scores = {name: open_entry(known[name], genome, device, threads) for name in names}
    for trained in model.base_models:
        here = sources.base_scores[trained["name"]].about.get("model", {})
        check_weights(trained, {**here, "name": trained["name"]}, f"[base_scores.{trained['name']}] in {config.name}")
    return sources, open_channels(model, sources, config.name, without)


def open_channels(model, sources: Sources, toml: str, without: tuple[str, ...] = ()) -> dict:
    """Readers of the modalities that a model asks for, but those in `without`. toml: name of ms.toml, for errors.

    MetaError for a channel without a source, and for one that depends on genes where none are known.
    """
    wanted = wanted_modalities(model, without)
    channels = [c for c in model.channels if c["modality"] in wanted]
    sources = copy.copy(sources)  # the readers' own
    sources.labels = _genes_as_trained(channels, sources.labels, toml)
    _check_known(channels)
    readers, absent = open_readers(sources, wanted, must=False)
    found = dense.channels(readers)
    if lacking := [c for c in channels if c["name"] not in found]:
        name, modality = lacking[0]["name"], lacking[0]["modality"]
        raise MetaError(
            f"no source of {modality if modality in absent else name}, which the model uses, [modalities.{modality}] in "
            f"{toml}; name it there, or predict --without {modality}"
        )
    return readers


def _genes_as_trained(channels: list[dict], labels, toml: str):
    """The labels, where the model was trained with genes known; None where it was not: silence means the same as then."""
    told = {c["in_genes"]: c["modality"] for c in channels if "in_genes" in c}
    if True in told and labels is None:
        raise MetaError(
            f"no genes, [annotation] in {toml}; the model counts silence of {told[True]} in measured genes only: name "
            f"tiers there, or predict --without {told[True]}"
        )
    return None if False in told else labels


def _check_known(channels: list[dict]) -> None:
    here = {c.name for name in modalities.names() for c in modalities.channels(name)}
    if strange := [c["name"] for c in channels if c["name"] not in here]:
        raise MetaError(
            f"no modality here gives channel {strange[0]}, which the model uses; install the version it is of"
        )


def inputs(sources: Sources, readers: dict) -> dict:
    """{name: path} of the files that pieces are read from, for provenance."""
    files = {f"{n}.{k}": p for n, r in readers.items() for k, p in r.inputs.items()}
    files |= {f"base_scores.{n}.{k}": p for n, s in sources.base_scores.items() for k, p in s.inputs.items()}
    return {**files, "genome": sources.genome.path}


# ---- one piece ------------------------------------------------------------------------------------------------------


class Refiner:
    """A sequence model ready to refine pieces.

    context: bases that it needs on each side of a core. base_names, channel_names: what pieces must hold, in order.
    device, dtype: of the network (float32 or bfloat16). batch: bases that it takes at a time; batch and threads change
    results by rounding only. uniform: where the primary base model has no score, 1/3 for each class stands for it, which is
    what the network takes for unknown; else there is no refined score either. tissue: of a model of tissues what stands for
    those wanted (T, ...), see predict_tissues; they come out of one pass where the network joins them at its head.
    MetaError for a model of tissues without a tissue.
    """

    def __init__(
        self, model, device: str = "cpu", dtype: str = "float32", batch: int = BATCH, threads: int | None = None,
        uniform: bool = False, tissue: np.ndarray | None = None,
    ):  # fmt: skip
        if model.tissues and tissue is None:
            raise MetaError(
                f"a model of {model.recipe} speaks of one tissue at a time, --model; only ms-predict takes one"
            )
        self.model, self.batch, self.uniform, self.tissue = model, batch, uniform, tissue
        self.filled = 0  # bases without a primary base score that were refined from 1/3 each
        self.base_names = [m["name"] for m in model.base_models]
        self.channel_names = [] if model.is_base else [c["name"] for c in model.channels]
        network = model.network()
        self.config = network.config
        self.network = None if model.is_base else _folded(network, device, dtype, threads)
        self.context = 0 if model.is_base else network.context

    @property
    def needs_base(self) -> bool:
        """Whether a position without a primary base score has no refined score either."""
        refines = "base" in getattr(self.config, "live", ("base",))  # networks that have a choice of streams say so
        return bool(self.base_names) and (self.model.is_base or refines)


def refine(refiner: Refiner, piece: Piece) -> np.ndarray:
    """Probabilities of donor, acceptor, neither of the piece's core, float32 (core bases, 3), genome orientation.

    With tissues (T, core bases, 3). The piece has at least refiner.context bases of flank on each side of its core. NaN
    where the primary base model, if the model refines one, has no score.
    """
    at = np.flatnonzero(piece.core)
    low, high = int(at[0]), int(at[-1]) + 1
    near = piece.cut(piece.start + low - refiner.context, piece.start + high + refiner.context)
    if refiner.network is not None:
        out = run(refiner, near)
    elif refiner.tissue is None:
        out = base_probabilities(near)
    else:  # nothing was gained in any tissue
        out = np.tile(base_probabilities(near), (len(refiner.tissue), 1, 1))
    if refiner.needs_base:
        lacking = np.isnan(piece.base[0, :, low:high]).any(axis=0)
        refiner.filled += int(lacking[at - low].sum()) if refiner.uniform else 0
        if not refiner.uniform:
            out[..., lacking, :] = np.nan
        elif refiner.network is None:
            out[..., lacking, :] = UNIFORM
    return out if len(at) == high - low else out[..., at - low, :]


def base_probabilities(piece: Piece) -> np.ndarray:
    """The primary base model's donor, acceptor, neither of every base of a piece, float32 (L, 3)."""
    donor, acceptor = piece.base[0]
    return np.stack([donor, acceptor, np.clip(1 - donor - acceptor, 0, 1)], axis=1)


def run(refiner: Refiner, piece: Piece) -> np.ndarray:
    """The network on a piece: float32 (L - 2 * context, 3), genome orientation; with tissues (T, L - 2 * context, 3)."""
    minus, scaling = piece.strand == "-", refiner.model.channels
    codes = reverse_complement(piece.codes) if minus else piece.codes
    base, channels = (a[..., ::-1] if minus else a for a in (piece.base, logged(piece.channels, scaling)))
    arrays = encode(codes, base, channels, scaling).arrays()
    # what the network has no rows for it is not given
    counts = (4, refiner.config.base_models, refiner.config.channels, refiner.config.masks)
    arrays = [a if count else None for a, count in zip(arrays, counts, strict=True)]
    bases, tissue = len(codes) - 2 * refiner.context, refiner.tissue
    out = np.empty((bases, 3), np.float32)
    if tissue is not None:
        out = np.empty((len(tissue), 3, bases), np.float32).swapaxes(1, 2)  # as the network gives them
    for low in range(0, bases, refiner.batch):
        high = min(low + refiner.batch, bases)
        part = [None if a is None else a[:, low : high + 2 * refiner.context] for a in arrays]
        if tissue is None:
            out[low:high] = softmax(refiner.network(*part))
        elif refiner.config.by_head:
            out[:, low:high] = probabilities(refiner.network(*part, tissue))
        else:
            for i, one in enumerate(tissue):
                out[i, low:high] = probabilities(refiner.network(*part, one))
    return np.ascontiguousarray(out[..., ::-1, :]) if minus and tissue is None else out[..., :: -1 if minus else 1, :]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, 3) of logits (n, 3)."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _folded(network, device: str, dtype: str, threads: int | None):
    from libmeta.device import set_torch_threads
    from libmeta.models.folded import Folded

    set_torch_threads(threads)
    return Folded(network, dtype, device, threads)


# ---- all pieces -----------------------------------------------------------------------------------------------------


@dataclass
class Scored:
    """Refined (n, 3) and primary base (2, n) probabilities of n consecutive bases of one strand from `start` on, in genome
    orientation; core bool (n,) marks those that were asked for, and all others are NaN. by_tissue: (T, 2, n) donor and
    acceptor in each tissue; refined is then the mean over these.
    """

    chrom: str
    start: int
    strand: str
    core: np.ndarray
    refined: np.ndarray
    base: np.ndarray
    by_tissue: np.ndarray | None = None


def score(
    refiner: Refiner, sources: Sources, readers: dict, regions: list[Region], size: int = PIECE
) -> Iterator[tuple[list[Scored], int]]:
    """Per cell of a grid of `size` bases, in genome order: its scored pieces of either strand, and its region bases.

    The grid does not depend on the regions. A cell is scored while the caller writes the one before.
    """
    cells = _cells(refiner, sources, readers, regions, size)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, cells, None)
        while (cell := coming.result()) is not None:
            coming = pool.submit(next, cells, None)
            yield cell


def _cells(refiner: Refiner, sources: Sources, readers: dict, regions: list[Region], size: int) -> Iterator[tuple]:
    asked = refiner.base_names, refiner.channel_names, regions, refiner.context, size
    found = dense.pieces(sources, readers, *asked)
    for _, cell in groupby(found, lambda item: (item[0].chrom, (item[0].start + refiner.context) // size)):
        both = [(_scored(refiner, piece), bases) for piece, bases in cell]
        yield [scored for scored, _ in both], sum(bases for _, bases in both)


def _scored(refiner: Refiner, piece: Piece) -> Scored:
    at = np.flatnonzero(piece.core)
    low, high = int(at[0]), int(at[-1]) + 1
    refined, base = np.full((high - low, 3), np.nan, np.float32), np.full((2, high - low), np.nan, np.float32)
    found, by_tissue = refine(refiner, piece), None
    if refiner.tissue is not None:
        by_tissue = np.full((len(found), 2, high - low), np.nan, np.float32)
        by_tissue[..., at - low] = found[..., :2].swapaxes(1, 2)
        found = found.mean(axis=0)
    refined[at - low] = found
    if refiner.base_names:
        base[:, at - low] = piece.base[0][:, at]
        if refiner.uniform:
            base[:, at - low] = np.where(np.isnan(base).any(axis=0), UNIFORM, base)[:, at - low]
    return Scored(piece.chrom, piece.start + low, piece.strand, piece.core[low:high], refined, base, by_tissue)


def table(scored: list[Scored], tissues: list[str] = ()) -> pa.RecordBatch:
    """Scored pieces of one cell as rows of the scores format, sorted by position and strand. tissues: of by_tissue."""
    form = scores_schema(tissues)
    scored = sorted(scored, key=lambda s: (s.strand, s.start))  # "+" before "-"
    pos = np.concatenate([s.start + np.flatnonzero(s.core) for s in scored])
    minus = np.concatenate([np.full(int(s.core.sum()), s.strand == "-") for s in scored])
    parts = [[s.refined.T, s.base, *([s.by_tissue.reshape(-1, len(s.core))] if tissues else ())] for s in scored]
    values = np.concatenate([np.concatenate(p)[:, s.core] for p, s in zip(parts, scored, strict=True)], axis=1)
    if minus.any() and not minus.all():
        order = np.argsort(pos, kind="stable")  # of two ascending runs: a merge
        pos, minus, values = pos[order], minus[order], values[:, order]
    columns = {
        "chrom": pa.repeat(scored[0].chrom, len(pos)),
        "pos": pos,
        "strand": _strands(minus),
        "weight": np.ones(len(pos), np.float32),
        **dict(zip(form.names[4:], values, strict=True)),
    }
    arrays = [pa.array(columns[f.name], f.type, from_pandas=True) for f in form]
    return pa.RecordBatch.from_arrays(arrays, schema=form)


def _strands(minus: np.ndarray) -> pa.Array:
    """ "+" and "-" as strings, without a Python object for each."""
    if minus.all() or not minus.any():
        return pa.repeat("-" if minus.all() else "+", len(minus))
    return pa.DictionaryArray.from_arrays(minus.astype(np.int8), pa.array(["+", "-"])).cast(pa.string())
