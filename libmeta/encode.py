"""What is known of a stretch of bases -> the inputs of a sequence model. Leading dimensions are kept."""

from dataclasses import dataclass

import numpy as np

SMALLEST = 1e-7  # probabilities are clipped here before the logarithm
UNKNOWN = np.float32(np.log(1 / 3))  # of each class where the base model was not run


@dataclass
class Encoded:
    """sequence (..., 4, L) one-hot, N all zero; base (..., 3 K, L) log-probabilities of donor, acceptor, neither of each
    base model; channels (..., C, L) scaled, missing 0; masks (..., M, L): 1 where a modality has a value. All float32.
    """

    sequence: np.ndarray
    base: np.ndarray
    channels: np.ndarray
    masks: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.sequence, self.base, self.channels, self.masks


def encode(codes: np.ndarray, base: np.ndarray, channels: np.ndarray, scaling: list[dict]) -> Encoded:
    """codes uint8 (..., L), 0 N, 1..4 ACGT; base (..., K, 2, L) probabilities of donor and acceptor, NaN unknown;
    channels (..., C, L) after log1p (see logged), NaN unknown, in the order of scaling, whose entries have modality,
    centre and scale. Everything in transcript orientation.
    """
    values, masks = scale(channels.astype(np.float32), scaling)
    return Encoded(one_hot(codes), log_probabilities(base), values, masks)


def one_hot(codes: np.ndarray) -> np.ndarray:
    """float32 (..., 4, L) of codes uint8 (..., L)."""
    letters = np.arange(1, 5, dtype=np.uint8)[:, None]
    return (codes[..., None, :] == letters).astype(np.float32)


def log_probabilities(base: np.ndarray) -> np.ndarray:
    """float32 (..., 3 K, L) of probabilities (..., K, 2, L); uniform where the base model has no score."""
    base = base.astype(np.float32)
    neither = 1 - base.sum(axis=-2, keepdims=True)
    p = np.log(np.clip(np.concatenate([base, neither], axis=-2), SMALLEST, 1))
    p = np.where(np.isnan(p).any(axis=-2, keepdims=True), UNKNOWN, p)
    return p.reshape(*base.shape[:-3], 3 * base.shape[-3], base.shape[-1])


def logged(channels: np.ndarray, scaling: list[dict]) -> np.ndarray:
    """log1p of the channels (..., C, L) that want it; values of -1 and below have none: NaN."""
    wants = np.array([bool(c["log1p"]) for c in scaling], bool)
    out = channels.astype(np.float32, copy=True)
    if wants.any():
        values = out[..., wants, :]
        out[..., wants, :] = np.log1p(np.where(values > -1, values, np.nan))
    return out


def modalities(scaling: list[dict]) -> list[str]:
    """Modalities of the channels in the order of their masks."""
    return list(dict.fromkeys(c["modality"] for c in scaling))


def scale(channels: np.ndarray, scaling: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """(scaled channels with missing as 0, masks (..., M, L)): a mask is 1 where any channel of its modality is known."""
    known = np.isfinite(channels)
    centre, width = (np.array([c[k] for c in scaling], np.float32)[:, None] for k in ("centre", "scale"))
    values = np.where(known, (channels - centre) / width, np.float32(0)) if len(scaling) else channels
    names = modalities(scaling)
    masks = np.zeros((*channels.shape[:-2], len(names), channels.shape[-1]), np.float32)
    for i, name in enumerate(names):
        rows = [j for j, c in enumerate(scaling) if c["modality"] == name]
        masks[..., i, :] = known[..., rows, :].any(axis=-2)
    return values.astype(np.float32), masks


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits (..., 3), in place and by the three classes: they lie far apart where tissues come out of one pass."""
    classes = [logits[..., k] for k in range(3)]
    highest = np.maximum(np.maximum(classes[0], classes[1]), classes[2])
    for one in classes:
        np.subtract(one, highest, out=one)
        np.exp(one, out=one)
    total = classes[0] + classes[1] + classes[2]
    for one in classes:
        np.divide(one, total, out=one)
    return logits
