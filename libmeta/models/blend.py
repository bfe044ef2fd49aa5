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
    """

    def __init__(self, base_models: int):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(3))
        if base_models:
            self.weight = nn.Parameter(torch.zeros(1))
        self.mixture = nn.Parameter(torch.zeros(base_models)) if base_models > 1 else None

    def forward(self, z: torch.Tensor, base: torch.Tensor | None = None) -> torch.Tensor:
        """z (B, 3, W) or (B, T, 3, W), base (B, 3 K, W) log-probabilities -> logits (B, W, 3) or (B, T, W, 3), float32."""
        logits = z.float()
        if base is not None:
            primary = self._primary(base.float())
            logits = (primary if z.dim() == 3 else primary[:, None]) + torch.sigmoid(self.weight) * logits
        return logits.transpose(-2, -1) / self.temperature.clamp(COLDEST, WARMEST)

    def _primary(self, base: torch.Tensor) -> torch.Tensor:
        if self.mixture is None:
            return base
        base = base.unflatten(1, (-1, 3))
        # The encoding of an unknown score is uniform; the primary model then speaks for that one too.
        unknown = (base == base[:, :, :1]).all(2, keepdim=True)
        weight = torch.log_softmax(self.mixture, 0)[:, None, None]
        return torch.logsumexp(torch.where(unknown, base[:, :1], base) + weight, 1)
