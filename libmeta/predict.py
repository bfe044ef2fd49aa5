"""Apply a position model to a features stream: rows of the scores format."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from libmeta import schema
from libmeta.checkpoint import PositionModel, probabilities
from libmeta.errors import MetaError
from libmeta.train import base_probabilities, column, matrix


def check(model: PositionModel, form: pa.Schema, base_models: list[dict], name: str) -> None:
    """The stream must have every column of the model, from the base models that it was trained on; else MetaError."""
    for trained, here in zip(model.base_models, base_models, strict=False):
        pair = [m.get("sha256") for m in (trained, here)]
        if None not in pair and pair[0] != pair[1]:
            raise MetaError(
                f"base scores of {here['name']}, {name}, are not of the weights that the model was trained on "
                f"({trained['name']}); make them with those, or train a model on these"
            )
    lacking = [c for c in model.columns if c not in form.names]
    if lacking:
        wanted = ",".join(sorted({c.split(".")[0] for c in lacking}))
        raise MetaError(
            f"no column {lacking[0]} ({len(lacking)} of the model's {len(model.columns)} are not there), {name}; make the "
            f"features with --modalities that include {wanted}"
        )


def about(model: PositionModel, name: str) -> dict:
    """What scores say of the model that made them."""
    seen = model.split.get("seen", {})
    on_all = not model.split.get("train") and not model.split.get("test")
    return {
        "name": name,
        "recipe": model.recipe,
        "target": model.target,
        "trees": model.trees,
        "train": seen.get("train", []) if on_all else model.split.get("train", []),
        "valid": model.split.get("valid", []),
        "test": model.split.get("test", []),
        "base": [m.get("name") for m in model.base_models],
        "base_trained_on": sorted({c for m in model.base_models for c in m.get("trained_on", [])}),
        "licence": sorted({m["licence"] for m in model.base_models if m.get("licence")}),
    }


def score(model: PositionModel, batches) -> Iterator[pa.RecordBatch]:
    """Batches of the scores format, row for row."""
    form = schema.load("scores").arrow
    for batch in batches:
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
        yield pa.RecordBatch.from_arrays(arrays, schema=form)
