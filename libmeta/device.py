"""Device, threads and seeds: the one place that says "cuda"."""

import os
import sys

from libmeta.errors import USAGE, MetaError


def thread_count(threads: int | None) -> int:
    """CPU threads to use: as asked, else $OMP_NUM_THREADS (which torchrun sets), else all that this process may use."""
    if threads:
        return threads
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_torch_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads (None: all that this process may use)."""
    import torch

    torch.set_num_threads(thread_count(threads))


def pick(device: str = "auto") -> str:
    """Name the torch device; an explicit device that is absent is an error.

    torch is loaded only where there may be an accelerator: the compiled kernel does without it.
    """
    if device == "cpu" or (device == "auto" and not _may_have_accelerator()):
        return "cpu"
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.split(":")[0]
    if kind not in ("cuda", "mps"):
        raise MetaError(f"unknown device {device!r}, --device; use auto, cpu, cuda, cuda:N or mps", USAGE)
    index = device.partition(":")[2]
    if index and not index.isdigit():
        raise MetaError(f"unknown device {device!r}, --device; the number after the colon is not one", USAGE)
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise MetaError(f"device {device} is not here, --device; use cpu, or see nvidia-smi")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise MetaError("device mps is not here, --device; use cpu")
    return device


def _may_have_accelerator() -> bool:
    """macOS, or a device file of an NVIDIA or AMD driver or of WSL."""
    return sys.platform != "linux" or any(os.path.exists(f"/dev/{name}") for name in ("nvidiactl", "kfd", "dxg"))
