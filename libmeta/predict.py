"""What predictions of both kinds of model share, and a position model on a features stream: rows of the scores format."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from libmeta import schema, tissue_names
from libmeta.errors import MetaError

if TYPE_CHECKING:  # xgboost is loaded where trees are run
    from libmeta.checkpoint import PositionModel

HEADER_LIMIT = 100 << 20  # bytes of a safetensors header, by its format


def is_sequence(path: str | Path) -> bool:
    """Whether a model file is that of a sequence model (safetensors); else it is taken for a position model.

    A safetensors file starts with the length of its header, 8 bytes, and the brace of that header.
    """
    if not Path(path).is_file():
        raise MetaError(f"no such model, {path}; check the path")
    with open(path, "rb") as handle:
        start = handle.read(9)
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= HEADER_LIMIT:
        return True
    return str(path).endswith(".safetensors")


def check_weights(trained: dict, here: dict, name: str) -> None:
    """Base scores must be of the weights that a model was trained on, where both say so; else MetaError.

    trained, here: base models as metadata describes them. name: where the scores are.
    """
    pair = [m.get("sha256") for m in (trained, here)]
    if None not in pair and pair[0] != pair[1]:
        raise MetaError(
            f"base scores of {here['name']}, {name}, are not of the weights that the model was trained on "
            f"({trained['name']}); make them with those, or train a model on these"
        )


def check(model: "PositionModel", form: pa.Schema, base_models: list[dict], name: str) -> None:
    """The stream must have every column of the model, from the base models that it was trained on; else MetaError."""
    for trained, here in zip(model.base_models, base_models, strict=False):
        check_weights(trained, here, name)
    lacking = [c for c in model.columns if c not in form.names]
    if lacking:
        wanted = ",".join(sorted({c.split(".")[0] for c in lacking}))
        raise MetaError(
            f"no column {lacking[0]} ({len(lacking)} of the model's {len(model.columns)} are not there), {name}; make the "
            f"features with --modalities that include {wanted}"
        )


def scores_schema(tissues: list[str] = ()) -> pa.Schema:
    """The scores format; of tissues (names) with their columns."""
    form = schema.load("scores").arrow
    for name in tissues:
        about = {"ms.role": "data", "ms.tissue": name}
        for site in ("donor", "acceptor"):
            form = form.append(pa.field(f"{site}.{tissue_names.short(name)}", pa.float32(), True, about))
    return form


def about(model, name: str, **more) -> dict:
    """What scores say of the model that made them, of either kind; `more` is added."""
    seen = model.split.get("seen", {})
    on_all = not model.split.get("train") and not model.split.get("test")
    return {
        "name": name,
        "recipe": model.recipe,
        "target": model.target,
        "train": seen.get("train", []) if on_all else model.split.get("train", []),
        "valid": model.split.get("valid", []),
        "test": model.split.get("test", []),
        "base": [m.get("name") for m in model.base_models],
        "base_trained_on": sorted({c for m in model.base_models for c in m.get("trained_on", [])}),
        "licence": sorted({m["licence"] for m in model.base_models if m.get("licence")}),
        **more,
    }


def score(model: "PositionModel", batches, size: int = 1 << 16) -> Iterator[pa.RecordBatch]:
    """Batches of the scores format of at most `size` rows, row for row."""
    for batch in batches:
        for low in range(0, batch.num_rows, size):
            yield _score(model, batch.slice(low, size))


def _score(model: "PositionModel", batch: pa.RecordBatch) -> pa.RecordBatch:
    from libmeta.checkpoint import probabilities
    from libmeta.train import base_probabilities, column, matrix

    form = schema.load("scores").arrow
    base = base_probabilities(batch)
    p = probabilities(model, matrix(batch, model.columns), base)
    base = np.full((batch.num_rows, 2), np.nan, np.float32) if base is None else base
    columns = {
        "chrom": batch.column("chrom"),
        "pos": batch.column("pos"),
        "strand": batch.column("strand"),
        "weight": column(batch, "weight"),
        "donor": p[:, 0],
        "acceptor": p[:, 1],
        "neither": p[:, 2],
        "base_donor": base[:, 0],
        "base_acceptor": base[:, 1],
    }
    arrays = [pa.array(columns[f.name], from_pandas=True).cast(f.type) for f in form]
    return pa.RecordBatch.from_arrays(arrays, schema=form)
