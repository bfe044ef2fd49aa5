"""The state of a training that is under way, beside the model it will become: what a second start goes on from."""

import json
import logging
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

from libmeta.errors import MetaError
from libmeta.streams import atomic

log = logging.getLogger("libmeta")


class Keeper:
    """Keeps a Run (libmeta.sequence_training) in `path` after each epoch; restores it where the key is the same.

    key: what the training follows from (shards, recipe, seed, ...); another key means another training, whose state is
    not used. keep() writes on the first worker only. path None: nothing is kept.
    """

    def __init__(self, path: Path | None, key: dict, first: bool = True):
        self.path, self.first = path, first
        self.key = json.dumps(key, sort_keys=True)

    def keep(self, run) -> None:
        if self.path is None or not self.first:
            return
        parts = {
            "network": run.network.state_dict(),
            "average": run.average.state_dict(),
            "best": run.best or {},
            "optimiser": {
                f"{i}.{name}": value
                for i, entry in run.optimiser.state_dict()["state"].items()
                for name, value in entry.items()
            },
        }
        tensors = {f"{part}/{k}": v.detach().cpu().contiguous() for part, d in parts.items() for k, v in d.items()}
        told = {"key": self.key, "epoch": str(run.epoch), "history": json.dumps(run.history),
                "steps": str(run.schedule.last_epoch)}  # fmt: skip
        with atomic(self.path) as temporary:
            safetensors.torch.save_file(tensors, str(temporary), metadata=told)

    def restore(self, run) -> None:
        """Put the run where it was; nothing happens where there is no state of this training."""
        if self.path is None or not self.path.exists():
            return
        try:
            with safe_open(str(self.path), "pt") as handle:
                told = handle.metadata() or {}
                tensors = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise MetaError(f"damaged training state ({error}), {self.path}; remove it to train anew") from error
        if told.get("key") != self.key:
            log.info("%s is of another training: starting anew", self.path)
            return
        parts: dict[str, dict] = {}
        for name, value in tensors.items():
            part, _, key = name.partition("/")
            parts.setdefault(part, {})[key] = value
        run.network.load_state_dict(parts["network"])
        run.average.load_state_dict(parts["average"])
        run.best = parts.get("best")
        optimiser = run.optimiser.state_dict()
        optimiser["state"] = {}
        for name, value in parts.get("optimiser", {}).items():
            index, _, key = name.partition(".")
            optimiser["state"].setdefault(int(index), {})[key] = value
        run.epoch, run.history = int(told["epoch"]), json.loads(told["history"])
        # The rates of the groups are those of the step that comes next.
        run.schedule.last_epoch = int(told["steps"])
        for group, rate, start in zip(
            optimiser["param_groups"], run.schedule.lr_lambdas, run.schedule.base_lrs, strict=True
        ):
            group["lr"] = start * rate(run.schedule.last_epoch)
        run.optimiser.load_state_dict(optimiser)
        log.info("going on after epoch %d, %s", run.epoch, self.path)

    def remove(self) -> None:
        """The training is over."""
        if self.path is not None and self.first:
            self.path.unlink(missing_ok=True)
