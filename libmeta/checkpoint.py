"""Position models as files that stand alone: an xgboost .ubj whose attributes hold all that prediction needs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xgboost

from libmeta import schema
from libmeta.errors import MetaError


@dataclass
class PositionModel:
    """A trained position model.

    columns: feature columns in order. outputs: 3 (donor, acceptor, neither) or 2 (PSI of donor, of acceptor).
    start: "base" where trees refine the primary base model's log-probabilities, else "prior". prior: log-probabilities
    that stand where there is no base score. trees: boosting rounds in use; 0 means that the model is the base.
    temperature: calibration, divides the logits. base_models: base models in order, as the features had them.
    """

    booster: xgboost.Booster | None
    recipe: str
    target: str
    columns: list[str]
    start: str
    prior: list[float]
    trees: int
    temperature: float = 1.0
    base_models: list[dict] = field(default_factory=list)
    split: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    provenance: list = field(default_factory=list)

    @property
    def outputs(self) -> int:
        return 2 if self.target == "psi" else 3


_FIELDS = [f for f in PositionModel.__dataclass_fields__ if f != "booster"]


def to_bytes(model: PositionModel) -> bytes:
    """The file's content: the booster's .ubj with attributes ms.* (JSON)."""
    form = schema.load("model")
    booster = model.booster.copy()
    booster.feature_names = model.columns
    values = {"format": form.name, "version": form.version, **{k: getattr(model, k) for k in _FIELDS}}
    booster.set_attr(**{f"ms.{k}": json.dumps(v, sort_keys=True) for k, v in values.items()})
    return bytes(booster.save_raw("ubj"))


def from_file(path: str | Path) -> PositionModel:
    """Read a model file; MetaError where it is absent, not a model, or not one of ours."""
    if not Path(path).is_file():
        raise MetaError(f"no such model, {path}; check the path")
    raw = Path(path).read_bytes()
    try:
        booster = xgboost.Booster(model_file=bytearray(raw))
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise MetaError(f"not an xgboost model or truncated, {path}; make it with ms-train") from error
    values = {k[3:]: json.loads(v) for k, v in booster.attributes().items() if k.startswith("ms.")}
    if values.get("format") != "model":
        raise MetaError(f"an xgboost model, but not one of ms-train, {path}; it has no ms.* attributes")
    if values["version"] != schema.load("model").version:
        raise MetaError(f"model format version {values['version']}, {path}; train it again with this version")
    return PositionModel(booster, **{k: values[k] for k in _FIELDS})


def starting_margin(model: PositionModel, base: np.ndarray | None, rows: int) -> np.ndarray:
    """Logits that the trees add to, float32 (rows, outputs).

    base: (rows, 2) primary base model's donor and acceptor probabilities, NaN where unknown; None without any.
    """
    out = np.tile(np.asarray(model.prior, np.float32), (rows, 1))
    if model.start != "base" or base is None:
        return out
    known = np.isfinite(base).all(axis=1)
    p = np.clip(base[known].astype(np.float64), 1e-7, 1 - 1e-7)
    if model.outputs == 2:
        out[known] = np.log(p / (1 - p))
    else:
        out[known] = np.log(np.column_stack([p, np.clip(1 - p.sum(axis=1), 1e-7, 1)]))
    return out


def probabilities(model: PositionModel, features: np.ndarray, base: np.ndarray | None) -> np.ndarray:
    """Calibrated donor, acceptor, neither, float32 (rows, 3).

    features: float32 (rows, columns) in the model's order, NaN for missing.
    """
    logits = starting_margin(model, base, len(features)).astype(np.float64)
    if model.trees and len(features):
        matrix = xgboost.DMatrix(features, base_margin=logits.astype(np.float32), feature_names=model.columns)
        logits = model.booster.predict(matrix, output_margin=True, iteration_range=(0, model.trees))
        logits = logits.astype(np.float64).reshape(len(features), model.outputs)
    return link(logits / model.temperature).astype(np.float32)


def link(logits: np.ndarray) -> np.ndarray:
    """Logits (n, 3) by softmax, or (n, 2) by the logistic function with neither = 1 - max -> (n, 3)."""
    if logits.shape[1] == 2:
        p = 1 / (1 + np.exp(-logits))
        return np.column_stack([p, 1 - p.max(axis=1)])
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
