"""The refinement on top of the base model, in logit space: it starts at exactly the base model."""

import torch
from torch import nn

COLDEST, WARMEST = 0.05, 5.0  # bounds of the temperatures


class Blend(nn.Module):
    """logits = (ln p_base + a z) / T, a = sigmoid(weight), one T per class.

    With z' = z + ln p_base this is (a z' + (1 - a) ln p_base) / T of science.md section 3; a network whose z starts at 0
    therefore starts at the base model. Of several base models p_base is a weighted mean (the weights are softmax of
    `mixture`), at first the plain mean, until libmeta.starting_blend has weighed them; where one's score is unknown the
    primary stands in for it. base_models 0: logits = z / T.

    pull: what validation found to be the share of base model number pull_to (libmeta.pull), a constant: the logits are then
    (1 - pull) logits + pull ln p of that model, a geometric mean of the two.
    """

    def __init__(self, base_models: int, pull: float = 0.0, pull_to: int = 0):
        super().__init__()
        self.base_models, self.pull, self.pull_to = base_models, pull, pull_to
        self.temperature = nn.Parameter(torch.ones(3))
        if base_models:
            self.weight = nn.Parameter(torch.zeros(1))
        self.mixture = nn.Parameter(torch.zeros(base_models)) if base_models > 1 else None

    def forward(self, z: torch.Tensor, base: torch.Tensor | None = None) -> torch.Tensor:
        """z (B, 3, W) or (B, T, 3, W), base (B, 3 K, W) log-probabilities -> logits (B, W, 3) or (B, T, W, 3), float32."""
        logits = z.float()
        temperature = self.temperature.clamp(COLDEST, WARMEST)
        if base is None:
            return logits.transpose(-2, -1) / temperature
        each = known(base.float())
        mean = each[:, 0] if self.mixture is None else self._mean(each)
        logits = (mean if z.dim() == 3 else mean[:, None]) + torch.sigmoid(self.weight) * logits
        logits = logits.transpose(-2, -1) / temperature
        if not self.pull:
            return logits
        towards = each[:, self.pull_to].transpose(-2, -1)
        return (1 - self.pull) * logits + self.pull * (towards if z.dim() == 3 else towards[:, None])

    def _mean(self, each: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(each + torch.log_softmax(self.mixture, 0)[:, None, None], 1)


def known(base: torch.Tensor) -> torch.Tensor:
    """(B, K, 3, W) of base (B, 3 K, W): the encoding of an unknown score is uniform; the primary speaks for that model too."""
    base = base.unflatten(1, (-1, 3))
    if base.shape[1] == 1:
        return base
    unknown = (base == base[:, :, :1]).all(2, keepdim=True)
    return torch.where(unknown, base[:, :1], base)
