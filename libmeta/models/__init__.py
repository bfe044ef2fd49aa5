"""The sequence networks. One calling convention: forward(sequence, base, channels, masks, tissue) -> logits [B, W, 3].

- meta: MetaSpliceModel, three streams and a residual blend with the base model
- window, seq2seq: WindowClassifier, without and with a decoder over neighbouring positions

`context` of a network is what an output needs on each side; inputs are W + 2 * context long.
"""

from torch import nn

from libmeta.errors import MetaError
from libmeta.models.config import MetaConfig, WindowConfig
from libmeta.models.meta import MetaSpliceModel
from libmeta.models.window import WindowClassifier

KINDS = ("meta", "window", "seq2seq")
DECODER = (1, 1, 4, 4)  # of seq2seq where the settings name none

__all__ = ["DECODER", "KINDS", "MetaConfig", "MetaSpliceModel", "WindowClassifier", "WindowConfig", "build", "decayed"]


def build(kind: str, settings: dict) -> nn.Module:
    """A network of one of KINDS with fresh weights, in training mode; `network.config.to_dict()` gives all settings.

    settings: of MetaConfig (meta) or WindowConfig (window, seq2seq). MetaError if kind or a setting is none.
    """
    if kind == "meta":
        return MetaSpliceModel(MetaConfig.from_dict(settings))
    if kind not in KINDS:
        raise MetaError(f"unknown kind of network {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "seq2seq":
        settings = {"decoder_dilations": DECODER, **settings}
    network = WindowClassifier(WindowConfig.from_dict(settings))
    if network.kind != kind:
        raise MetaError(f"decoder_dilations of a {kind} network; seq2seq has some, window has none")
    return network


def decayed(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with weight decay (weights of layers) and without (biases, norms, blend, temperatures)."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]
