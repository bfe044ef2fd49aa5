"""Training rows on disk, read back in pieces: xgboost's iterator passes over them more than once, a stream comes once."""

from pathlib import Path

import numpy as np
import xgboost

PIECE = 1 << 16


class Spool:
    """Rows of float32 in one file: features, then targets, margins and weight. Memory is that of one piece.

    features, targets, margins: how many columns of each.
    """

    def __init__(self, path: Path, features: int, targets: int, margins: int):
        self.path, self.rows = path, 0
        self.cuts = np.cumsum([features, targets, margins])
        self.width = features + targets + margins + 1
        self._file = open(path, "wb")  # noqa: SIM115 - stays open between appends

    def append(self, *parts: np.ndarray) -> None:
        """features (n, f), targets (n, t), margins (n, m), weight (n,)."""
        block = np.column_stack(parts).astype(np.float32)
        self._file.write(block.tobytes())
        self.rows += len(block)

    def pieces(self):
        """(features, targets, margins, weight) of at most 65,536 rows at a time, in order."""
        self._file.flush()
        if not self.rows:
            return
        with open(self.path, "rb") as handle:  # read, not mapped: mapped pages would count as memory
            while (block := np.fromfile(handle, np.float32, PIECE * self.width)).size:
                x, y, margin, weight = np.split(block.reshape(-1, self.width), self.cuts, axis=1)
                yield x, y, margin, weight[:, 0]

    def column(self, index: int) -> np.ndarray:
        """One column of all rows."""
        return np.concatenate([np.array(p[0][:, index]) for p in self.pieces()])

    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """(targets, weight) of all rows."""
        parts = [(y, w) for _, y, _, w in self.pieces()]
        return np.concatenate([y for y, _ in parts]), np.concatenate([w for _, w in parts])

    def close(self) -> None:
        self._file.close()


def with_prior(margin: np.ndarray, prior: list[float]) -> np.ndarray:
    """Margins (n, m) with the prior where they are NaN (no base score)."""
    return np.where(np.isnan(margin), np.asarray(prior, np.float32), margin)


class Pieces(xgboost.DataIter):
    """A spool as xgboost's iterator: what it keeps is the quantised matrix, not the rows."""

    def __init__(self, spool: Spool, prior: list[float]):
        super().__init__()
        self.spool, self.prior, self._iterator = spool, prior, None

    def reset(self) -> None:
        self._iterator = self.spool.pieces()

    def next(self, input_data) -> bool:
        piece = next(self._iterator, None)
        if piece is None:
            return False
        x, y, margin, weight = piece
        label = y if y.shape[1] > 1 else y[:, 0]
        input_data(data=x, label=label, base_margin=with_prior(margin, self.prior), weight=weight)
        return True
