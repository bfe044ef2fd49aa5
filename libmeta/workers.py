"""The processes of one training: one, or as many as torchrun started."""

import os
from dataclasses import dataclass

from libmeta.device import pick
from libmeta.errors import USAGE, MetaError


@dataclass
class Workers:
    """rank of this process among `count`, and its torch device. Use as a context manager.

    Several processes talk through gloo on CPUs and NCCL on GPUs; torchrun's environment variables say who is who.
    """

    rank: int
    count: int
    device: str

    @classmethod
    def from_environment(cls, device: str) -> "Workers":
        """device: as --device; several processes on "auto" or "cuda" take one GPU each."""
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        chosen = pick(device)
        if count > 1 and chosen not in ("cpu", "cuda"):
            raise MetaError(f"device {device} for {count} processes, --device; give cpu or cuda", USAGE)
        if count > 1 and chosen == "cuda":
            chosen = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        return cls(rank, count, chosen)

    def __enter__(self):
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.set_device(self.device)
        if self.count > 1:
            from torch import distributed

            distributed.init_process_group("nccl" if self.device.startswith("cuda") else "gloo")
        return self

    def __exit__(self, *_):
        if self.count > 1:
            from torch import distributed

            distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value) -> list:
        """What each process has, in order of rank, on every process."""
        if self.count == 1:
            return [value]
        from torch import distributed

        found = [None] * self.count
        distributed.all_gather_object(found, value)
        return found

    def agree(self, tensors) -> None:
        """Put the mean over the processes in place of each floating-point tensor."""
        if self.count == 1:
            return
        from torch import distributed

        for tensor in tensors:
            if tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor /= self.count

    def wrap(self, network):
        """The network with gradients averaged over the processes."""
        if self.count == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network, device_ids=[self.device] if self.device.startswith("cuda") else None)
