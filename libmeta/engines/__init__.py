"""Engines that run networks of the SpliceAI family: one interface, `build`, over three ways to the same numbers.

- fft: float32 on the CPU, compiled overlap-save kernel, by far the fastest; 32 channels; loads no torch
- gemm: float32 on the CPU without a compiler, the same idea out of torch's matrix products
- torch: float32 or bfloat16 on any device torch knows; folded, channels last
- reference: the plain network, in float32 or float64, that the others are compared with
"""

from libmeta.device import set_torch_threads
from libmeta.engines.base import Engine
from libmeta.errors import MetaError
from libmeta.resnet import ResNetWeights

NAMES = ("fft", "gemm", "torch", "reference")
CHOICES = ("auto", *NAMES)

__all__ = ["CHOICES", "NAMES", "Engine", "available", "build"]


def available() -> tuple[str, ...]:
    """Names of the engines that can be used here, the fastest on the CPU first."""
    from libmeta.engines import fft

    return NAMES if fft.missing() is None else NAMES[1:]


def build(
    nets: list[ResNetWeights],
    engine: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    dtype: str = "float32",
) -> Engine:
    """Make networks of one context ready to score as an ensemble.

    engine: one of CHOICES; "auto" takes the fastest that fits. device: as torch names it. threads: of the fft
    and gemm engines (None: as many as torch uses); the others follow torch.set_num_threads. dtype: float32, bfloat16
    (torch, reference) or float64 (reference). MetaError if the networks do not go together or the engine
    cannot do what is asked.
    """
    if not nets:
        raise MetaError("no networks to build an engine from; give at least one weights file")
    contexts = sorted({net.context for net in nets})
    if len(contexts) > 1:
        raise MetaError(f"networks of different contexts {contexts} in one ensemble; give one context")
    if engine not in CHOICES:
        raise MetaError(f"unknown engine {engine}; choose one of {', '.join(CHOICES)}")
    from libmeta.engines import fft

    unfit = fft.unfit(nets, device, dtype)
    if engine == "auto":
        engine = "fft" if unfit is None else _without_kernel(device, dtype)
    if engine == "fft":
        if unfit is not None:
            raise MetaError(unfit)
        return fft.FftEngine(nets, threads)
    set_torch_threads(threads)
    if engine == "gemm":
        from libmeta.engines import gemm

        if (unfit := gemm.unfit(device, dtype)) is not None:
            raise MetaError(unfit)
        return gemm.GemmEngine(nets, threads)
    if engine == "torch":
        from libmeta.engines import channels_last as module

        kind = module.ChannelsLastEngine
    else:
        from libmeta.engines import reference as module

        kind = module.ReferenceEngine
    if dtype not in module.DTYPES:
        raise MetaError(f"the {engine} engine has no {dtype}; choose one of {', '.join(module.DTYPES)}")
    return kind(nets, device, dtype)


def _without_kernel(device: str, dtype: str) -> str:
    """The fastest engine in Python, by what it is to run in."""
    if dtype == "float64":
        return "reference"
    return "gemm" if device == "cpu" and dtype == "float32" else "torch"
