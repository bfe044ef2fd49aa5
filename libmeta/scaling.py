"""Centre and scale of channels, from the training bases of a stream of any length, in bounded memory."""

import numpy as np

MOST = 2_000_000  # values kept for each channel
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Sample:
    """Values of channels: all of them up to `most`, beyond that those of a random choice of bases that is the same every time.

    Which bases are chosen follows from contig, position and strand alone, not from the order or the cuts of the input.
    """

    def __init__(self, channels: int, most: int = MOST):
        self.most = most
        self._kept = [(np.zeros(0, np.uint32), np.zeros(0, np.float32)) for _ in range(channels)]
        self._below = [1 << 32] * channels
        self._fresh: list[list] = [[] for _ in range(channels)]
        self._waiting = [0] * channels

    def add(self, values: np.ndarray, contig: int, positions: np.ndarray, minus: bool) -> None:
        """values: float32 (C, n), NaN unknown. contig: its index. positions: (n,), 0-based, each base once."""
        if not len(values):
            return
        lot = _lots(contig, positions, minus)
        for c, row in enumerate(values):
            chosen = ~np.isnan(row)
            if self._below[c] <= 1 << 31:
                chosen &= lot < self._below[c]
            self._fresh[c].append((lot[chosen], row[chosen]))
            self._waiting[c] += len(self._fresh[c][-1][0])
            if self._waiting[c] + len(self._kept[c][0]) > self.most:
                self._thin(c)

    def _thin(self, c: int) -> None:
        lot, value = (np.concatenate(parts) for parts in zip(self._kept[c], *self._fresh[c], strict=True))
        while len(lot) > self.most:
            self._below[c] //= 2
            keep = lot < self._below[c]
            lot, value = lot[keep], value[keep]
        self._kept[c], self._fresh[c], self._waiting[c] = (lot, value), [], 0

    def scales(self) -> list[tuple[float, float, int]]:
        """(centre, scale, values known or sampled) of each channel: median; IQR, else standard deviation, else 1."""
        out = []
        for c in range(len(self._kept)):
            self._thin(c)
            value = self._kept[c][1].astype(np.float64)
            if not len(value):
                out.append((0.0, 1.0, 0))
                continue
            low, centre, high = np.quantile(value, (0.25, 0.5, 0.75))
            out.append((float(centre), float((high - low) or value.std() or 1.0), len(value)))
        return out


def _lots(contig: int, positions: np.ndarray, minus: bool) -> np.ndarray:
    """A well mixed number for each base, uint32 (n,) (the finaliser of splitmix64)."""
    x = positions.astype(np.uint64) * np.uint64(2) + np.uint64(minus) + np.uint64(contig << 40)
    x = (x + np.uint64(1)) * _ODD
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
