"""What a training says while it runs: JSON lines in a file, a step of the bar per batch, a line per epoch."""

import json
import logging
from pathlib import Path

log = logging.getLogger("libmeta")


class TrainingLog:
    """sequence_training.fit's `tell`. bar: has update(n). Only the first worker makes one that writes (path not None).

    The file is replaced at the first epoch of a training that starts anew, and added to by one that goes on.
    """

    def __init__(self, path: Path | None, bar):
        self.path, self.bar = path, bar

    def __call__(self, *found) -> None:
        if self.path is None:
            return
        if len(found) > 1:
            self.bar.update(1)
            return
        (entry,) = found
        with open(self.path, "w" if entry["epoch"] == 1 else "a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry, sort_keys=True) + "\n")
        log.info(
            "epoch %d: loss %.3g, validation macro AP %.4f (base %.4f; above it in %.0f %% of draws), %.0f windows/s, %.0f s",
            entry["epoch"], entry["loss"], entry["valid_macro_ap"], entry["base_macro_ap"],
            100 * entry["chance_of_gain"], entry["windows_per_second"], entry["seconds"],
        )  # fmt: skip
