"""What a training says while it runs: JSON lines in a file, a step of the bar per batch, a line per epoch."""

import json
import logging
import math
from pathlib import Path

from libmeta.streams import atomic

log = logging.getLogger("libmeta")


class TrainingLog:
    """sequence_training.fit's `tell`. bar: has update(n). Only the first worker makes one that writes (path not None).

    The file holds the whole history at any time, also of a training that goes on.
    """

    def __init__(self, path: Path | None, bar):
        self.path, self.bar = path, bar

    def __call__(self, *found) -> None:
        """found: (epoch, batches done, loss), or the history with a new entry at its end."""
        if self.path is None:
            return
        if len(found) > 1:
            self.bar.update(1)
            return
        (history,) = found
        with atomic(self.path) as temporary:
            temporary.write_text(
                "".join(json.dumps(_plain(e), sort_keys=True) + "\n" for e in history), encoding="utf-8"
            )
        entry = history[-1]
        trained = "base models weighed"
        if entry["epoch"]:
            rate, seconds = entry["windows_per_second"], entry["seconds"]
            trained = f"loss {entry['loss']:.3g}, {rate:.0f} windows/s, {seconds:.0f} s"
        log.info(
            "epoch %d: %s; validation macro AP %.4f (base %.4f)%s, above the base in %.0f %% of draws",
            entry["epoch"], trained, entry["valid_macro_ap"], entry["base_macro_ap"], _aim(entry),
            100 * entry["chance_of_gain"],
        )  # fmt: skip


def _aim(entry: dict) -> str:
    """Where other sites count too: what the epoch is chosen by."""
    if entry["valid_aim"] == entry["valid_macro_ap"]:
        return ""
    return f", its mean with that of all annotated sites {entry['valid_aim']:.4f} (base {entry['base_aim']:.4f})"


def _plain(value):
    """NaN as null: JSON has none."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
