"""The plain network, straight from the paper: slow, and what the other engines are compared with."""

import numpy as np
import torch

from libmeta.engines.base import Engine
from libmeta.resnet import PlainResNet, ResNetWeights, one_hot

DTYPES = ("float64", "float32", "bfloat16")


class ReferenceEngine(Engine):
    """PlainResNet in dtype on device, one network at a time."""

    name = "reference"
    piece = 5_000

    def __init__(self, nets: list[ResNetWeights], device: str = "cpu", dtype: str = "float32"):
        super().__init__(nets)
        self.device, self.dtype = device, getattr(torch, dtype)
        self.nets = [PlainResNet(net).to(device=device, dtype=self.dtype) for net in nets]

    @torch.inference_mode()
    def _score_net(self, model: int, codes: np.ndarray) -> np.ndarray:
        probabilities = self.nets[model](one_hot(codes, self.dtype, self.device))
        return probabilities[0].T.float().cpu().numpy()
