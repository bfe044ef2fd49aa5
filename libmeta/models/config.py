"""What the sequence networks are built from: plain numbers that stand in the model file beside the weights."""

from dataclasses import asdict, dataclass, fields

from libmeta.errors import MetaError

STREAMS = ("sequence", "base", "channels")
FUSIONS = ("concat", "attention")
JOINS = ("channels", "head")
HEAD_WIDTH = 16  # channels of one attention head


class _Plain:
    """To and from what JSON can hold."""

    def to_dict(self) -> dict:
        """Every setting by name; tuples as lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict):
        """The inverse of to_dict; what is not named keeps its default. MetaError for a name that is none."""
        if unknown := sorted(set(values) - {f.name for f in fields(cls)}):
            raise MetaError(f"no such setting {unknown[0]!r}, {cls.__name__}; known: {_names(cls)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class MetaConfig(_Plain):
    """MetaSpliceModel (science.md section 3). Lengths in bases; every option is off by default.

    hidden: channels of the trunk. kernel: taps, odd. *_dilations: one residual block each. base_models, channels, masks:
    how many of each come in. streams: which of STREAMS there are (ablations leave some out); "channels" is there only
    where something comes in. attention: half-width of the banded self-attention after fusion, 0 for none.
    pull, pull_to: share of a base model, by number, in what is told (see Blend).
    tissues: learned vectors of tissue_width (tissue_one_hot: none, each tissue for itself), or tissue_features: a profile
    of so many numbers projected to tissue_width. tissue_join: "channels", where stream C begins (science.md), or "head":
    all but the last layer is then the same in every tissue and is computed once for all of them.
    """

    hidden: int = 32
    kernel: int = 11
    dropout: float = 0.1
    sequence_dilations: tuple[int, ...] = (1, 1, 1, 1, 4, 4, 4, 4)
    channel_dilations: tuple[int, ...] = (1, 1, 4, 4)
    fusion_dilations: tuple[int, ...] = (1, 1, 4, 4)
    base_models: int = 1
    channels: int = 0
    masks: int = 0
    streams: tuple[str, ...] = STREAMS
    attention: int = 0
    tissues: int = 0
    tissue_features: int = 0
    tissue_width: int = 16
    tissue_one_hot: bool = False
    tissue_join: str = "channels"
    pull: float = 0.0
    pull_to: int = 0

    def __post_init__(self):
        _check_pull(self)
        least = {"hidden": 1, "kernel": 1, "base_models": 0, "channels": 0, "masks": 0, "attention": 0, "tissues": 0}
        _check(self, least | {"tissue_features": 0, "tissue_width": 1})
        _check_odd("kernel", self.kernel)
        for name in ("sequence_dilations", "channel_dilations", "fusion_dilations"):
            if any(d < 1 for d in getattr(self, name)):
                raise MetaError(f"{name} {getattr(self, name)}, network settings; dilations are 1 or more")
        if not self.live or set(self.streams) - set(STREAMS):
            raise MetaError(
                f"streams {', '.join(self.streams) or 'none'}, network settings; give some of {', '.join(STREAMS)}, "
                "and an input for each"
            )
        if self.attention:
            _check_heads(self.hidden)
        if self.tissues and self.tissue_features:
            raise MetaError("tissues and tissue_features, network settings; give one or the other")
        if self.tissue_one_hot and not self.tissues:
            raise MetaError("tissue_one_hot without tissues, network settings; say how many")
        if self.tissue_join not in JOINS:
            raise MetaError(f"tissue_join {self.tissue_join!r}, network settings; choose one of {', '.join(JOINS)}")

    @property
    def live(self) -> tuple[str, ...]:
        """Streams that the network has, in the order of STREAMS."""
        inputs = {"sequence": 1, "base": self.base_models, "channels": self.channels + self.masks}
        return tuple(s for s in STREAMS if s in self.streams and inputs[s])

    @property
    def tissue_inputs(self) -> int:
        """Numbers that stand for a tissue before they are joined; 0 in a network without tissues."""
        if self.tissue_one_hot:
            return self.tissues
        return self.tissue_width if self.tissues or self.tissue_features else 0

    @property
    def by_head(self) -> bool:
        """Whether several tissues come out of one pass."""
        return bool(self.tissue_inputs) and self.tissue_join == "head"

    @property
    def after_fusion(self) -> int:
        """Bases on each side that the layers from fusion on need."""
        return self.reach(self.fusion_dilations) + self.attention

    @property
    def context(self) -> int:
        """Bases on each side that an output depends on: the longest path from input to output."""
        return max(self.stream_reach(s) for s in self.live) + self.after_fusion

    def stream_reach(self, stream: str) -> int:
        """Bases on each side that a stream needs by itself."""
        dilations = {"sequence": self.sequence_dilations, "base": (), "channels": self.channel_dilations}
        return self.reach(dilations[stream])

    def reach(self, dilations: tuple[int, ...]) -> int:
        """Bases on each side that residual blocks of these dilations need: two convolutions each."""
        return sum((self.kernel - 1) * d for d in dilations)


@dataclass(frozen=True)
class WindowConfig(_Plain):
    """WindowClassifier. Lengths in bases.

    window: bases seen by one output of the encoders, odd. kernels: of the sequence encoder's parallel convolutions, odd.
    score_width: bases of base scores and channels around the position that the score encoder sees, odd.
    fusion: "concat" (mean and maximum over the window join the position's own features) or "attention" (the score
    encoder asks, the window answers). decoder_dilations: residual blocks over neighbouring outputs, which make the
    sequence-to-sequence form; none in the window form. pull, pull_to: as of MetaConfig.
    """

    hidden: int = 32
    window: int = 501
    kernels: tuple[int, ...] = (5, 11, 21)
    score_width: int = 21
    fusion: str = "concat"
    dropout: float = 0.1
    decoder_kernel: int = 11
    decoder_dilations: tuple[int, ...] = ()
    base_models: int = 1
    channels: int = 0
    masks: int = 0
    pull: float = 0.0
    pull_to: int = 0

    def __post_init__(self):
        _check_pull(self)
        _check(self, {"hidden": 1, "window": 1, "score_width": 1, "base_models": 0, "channels": 0, "masks": 0})
        for name in ("window", "score_width", "decoder_kernel"):
            _check_odd(name, getattr(self, name))
        for kernel in self.kernels:
            _check_odd("kernels", kernel)
        if not self.kernels or max(*self.kernels, self.score_width) > self.window:
            raise MetaError(f"window of {self.window} bp, network settings; it must hold every kernel and score_width")
        if self.fusion not in FUSIONS:
            raise MetaError(f"fusion {self.fusion!r}, network settings; choose one of {', '.join(FUSIONS)}")
        if self.fusion == "attention":
            _check_heads(self.hidden)

    @property
    def scores(self) -> int:
        """Rows that the score encoder takes."""
        return 3 * self.base_models + self.channels + self.masks

    @property
    def decoder_reach(self) -> int:
        """Bases on each side that the decoder needs."""
        return sum((self.decoder_kernel - 1) * d for d in self.decoder_dilations)

    @property
    def context(self) -> int:
        """Bases on each side that an output depends on."""
        return self.window // 2 + self.decoder_reach


def _names(cls) -> str:
    return ", ".join(f.name for f in fields(cls))


def _check(config, least: dict[str, int]) -> None:
    for name, low in least.items():
        value = getattr(config, name)
        if not isinstance(value, int) or value < low:
            raise MetaError(f"{name} {value!r}, network settings; a whole number of at least {low}")
    if not 0 <= config.dropout < 1:
        raise MetaError(f"dropout {config.dropout}, network settings; from 0 to below 1")


def _check_pull(config) -> None:
    if not 0 <= config.pull < 1 or (config.pull and not 0 <= config.pull_to < config.base_models):
        raise MetaError(
            f"pull {config.pull} to base model number {config.pull_to}, network settings; from 0 to below 1, to one of the "
            f"{config.base_models} there are"
        )


def _check_odd(name: str, value: int) -> None:
    if value < 1 or value % 2 == 0:
        raise MetaError(f"{name} {value}, network settings; an odd number, so that a position has a middle")


def _check_heads(hidden: int) -> None:
    if hidden % HEAD_WIDTH:
        raise MetaError(f"hidden {hidden} with attention, network settings; give a multiple of {HEAD_WIDTH}")
