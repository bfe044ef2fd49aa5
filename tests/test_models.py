"""Sequence networks: their start, their reach, tiles, options, and the fast forms against the plain ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from libmeta import encode, models
from libmeta.engines import fft
from libmeta.errors import MetaError
from libmeta.models import MetaConfig, MetaSpliceModel, blocks, rows
from libmeta.models.attention import BandedAttention
from libmeta.models.blend import Blend
from libmeta.models.folded import Folded
from libmeta.models.window import sliding

SHORT = {"sequence_dilations": (1, 4), "channel_dilations": (1,), "fusion_dilations": (2,), "kernel": 5}
FULL = {**SHORT, "channels": 3, "masks": 2}
NETWORKS = {
    "meta": ("meta", FULL),
    "no evidence": ("meta", SHORT),
    "sequence only": ("meta", {**FULL, "streams": ("sequence",)}),
    "base only": ("meta", {**FULL, "streams": ("base",)}),
    "base and channels": ("meta", {**FULL, "streams": ("base", "channels")}),
    "two base models": ("meta", {**FULL, "base_models": 2}),
    "attention": ("meta", {**FULL, "attention": 70}),
    "48 channels": ("meta", {**FULL, "hidden": 48}),
    "tissues": ("meta", {**FULL, "tissues": 5}),
    "tissues without channels": ("meta", {**SHORT, "tissues": 5}),
    "tissue profile": ("meta", {**FULL, "tissue_features": 7}),
    "window": ("window", {"channels": 3, "masks": 2, "window": 101}),
    "window of attention": ("window", {"channels": 3, "window": 101, "fusion": "attention"}),
    "seq2seq": ("seq2seq", {"base_models": 2, "window": 61, "decoder_dilations": (1, 2), "decoder_kernel": 5}),
}
everywhere = pytest.mark.parametrize("name", NETWORKS)


pytestmark = pytest.mark.usefixtures("one_thread")


def network(name: str, seed: int = 0, trained: bool = True) -> nn.Module:
    """One of NETWORKS in evaluation mode, with weights and norms as far from a start as training may take them."""
    torch.manual_seed(seed)
    kind, options = NETWORKS[name]
    return scramble(models.build(kind, options)) if trained else models.build(kind, options).eval()


def scramble(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for key, p in net.named_parameters():
            if p.dim() > 1:
                p.copy_(0.7 * torch.randn_like(p) / p[0].numel() ** 0.5)
            elif "norm" in key and key.endswith("weight"):
                # some scales are negative in trained networks
                p.copy_((1 + 0.3 * torch.randn_like(p)) * torch.where(torch.rand_like(p) < 0.2, -1.0, 1.0))
            else:
                p.add_(0.3 * torch.randn_like(p))
        for key, b in net.named_buffers():
            if key.endswith("mean"):
                b.normal_(0, 0.3)
            elif key.endswith("var"):
                b.uniform_(0.2, 2)
    return net.eval()


def inputs(net: nn.Module, positions: int, batch: int = 2, seed: int = 0) -> list:
    """sequence, base, channels, masks, tissue for `positions` outputs."""
    torch.manual_seed(seed)
    config, n = net.config, positions + 2 * net.context
    codes = torch.randint(0, 5, (batch, n))
    sequence = functional.one_hot(codes, 5)[..., 1:].float().transpose(1, 2).contiguous()
    base = (3 * torch.randn(batch, max(config.base_models, 1), 3, n)).log_softmax(2).flatten(1, 2)
    masks = torch.randint(0, 2, (batch, config.masks, n)).float()
    tissue = torch.arange(batch) if getattr(config, "tissues", 0) else None
    if getattr(config, "tissue_features", 0):
        tissue = torch.randn(batch, config.tissue_features)
    return [sequence, base, torch.randn(batch, config.channels, n), masks, tissue]


def cut(given: list, start: int, stop: int) -> list:
    return [x if x is None or x.dim() < 3 else x[..., start:stop] for x in given]


@torch.no_grad()
def run(net: nn.Module, given: list) -> torch.Tensor:
    return net(*given)


# ---- size and start -------------------------------------------------------------------------------------------------


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_parameter_count():
    classic = MetaSpliceModel(MetaConfig(channels=9))
    assert count(classic) == 369_447
    assert classic.context == 300
    # masks add rows of one layer, a second base model rows of one layer and its weights in the mixture
    assert count(MetaSpliceModel(MetaConfig(channels=9, masks=4))) == 369_447 + 4 * 32
    assert count(MetaSpliceModel(MetaConfig(channels=9, base_models=2))) == 369_447 + 3 * 32 + 2


@everywhere
@pytest.mark.parametrize("training", [True, False])
def test_start_is_the_base_model(name, training):
    net = network(name, trained=False).train(training)
    given = inputs(net, 40)
    with torch.no_grad():
        p = net(*given).softmax(2)
    has_base = net.config.base_models and "base" in getattr(net.config, "live", ("base",))
    # of several base models the plain mean
    base = given[1][..., net.context : net.context + 40].unflatten(1, (-1, 3)).exp().mean(1).transpose(1, 2)
    wanted = base if has_base else torch.full_like(base, 1 / 3)
    assert (p - wanted).abs().max() < 1e-6


def test_blend_is_the_documented_one():
    torch.manual_seed(0)
    blend = Blend(1)
    with torch.no_grad():
        blend.weight.fill_(-1.2)
        blend.temperature.copy_(torch.tensor([0.01, 2.0, 9.0]))
    z, base = torch.randn(2, 3, 7), torch.randn(2, 3, 7).log_softmax(1)
    a = 1 / (1 + np.exp(1.2))
    wanted = (a * (z + base) + (1 - a) * base) / torch.tensor([0.05, 2.0, 5.0])[:, None]
    assert torch.allclose(blend(z, base).transpose(1, 2), wanted, atol=1e-5)


def test_unknown_second_base_model_changes_nothing():
    blend = Blend(2)
    with torch.no_grad():
        blend.mixture.copy_(torch.tensor([0.9, 0.4]))
    z, first = torch.randn(1, 3, 9), torch.randn(1, 3, 9).log_softmax(1)
    one = blend(z, torch.cat([first, torch.full_like(first, float(encode.UNKNOWN))], 1))
    two = blend(z, torch.cat([first, torch.zeros_like(first)], 1))
    assert torch.allclose(one.softmax(2), two.softmax(2), atol=1e-6)


# ---- context --------------------------------------------------------------------------------------------------------


@everywhere
def test_context_is_what_an_output_sees(name):
    """A change one base beyond the context moves nothing; the last base of it on either side has a gradient (its effect
    may be lost in the rounding of the output).
    """
    net = network(name)
    c = net.context
    given = inputs(net, 3)  # outputs beside the middle one, so that there is something beyond its context
    start, felt = run(net, given)[:, 1], set()
    for which, x in enumerate(given[:4]):
        if not x.shape[1]:
            continue
        for at in (0, 2 * c + 2):
            other = [y if i != which else y.clone() for i, y in enumerate(given)]
            other[which][:, :, at] += 3
            assert torch.equal(run(net, other)[:, 1], start)
        x.requires_grad_()
    net(*given)[:, 1, 0].sum().backward()
    for x in given[:4]:
        if x.grad is not None:
            felt |= set(torch.nonzero(x.grad.abs().sum((0, 1)))[:, 0].tolist())
    assert (min(felt), max(felt)) == (1, 2 * c + 1)


def test_streams_reach_as_far_as_the_settings_say():
    """By gradients: at 300 bases a change of the input is felt, but is lost in the rounding of the output."""
    net = scramble(MetaSpliceModel(MetaConfig(channels=2)))
    given = inputs(net, 1, batch=1)
    for x in given[:3]:
        x.requires_grad_()
    net(*given)[0, 0, 0].backward()
    for x, reach in zip(given, (300, 100, 200), strict=False):
        felt = torch.nonzero(x.grad.abs().sum((0, 1)))[:, 0]
        assert (felt.min(), felt.max()) == (300 - reach, 300 + reach)


@everywhere
def test_tiles_say_what_the_piece_says(name):
    net = network(name)
    positions, c = 150, net.context
    given = inputs(net, positions)
    whole = run(net, given)
    assert whole.shape == (2, positions, 3)
    for start, stop in ((0, 1), (0, 64), (64, 150), (77, 78), (149, 150), (13, 140)):
        assert (run(net, cut(given, start, stop + 2 * c)) - whole[:, start:stop]).abs().max() < 1e-5


@everywhere
def test_batch_size_does_not_matter(name):
    net = network(name)
    given = inputs(net, 20, batch=5)
    whole = run(net, given)
    for i in range(5):
        alone = run(net, [x if x is None else x[i : i + 1] for x in given])
        assert (alone - whole[i : i + 1]).abs().max() < 1e-5


def test_wrong_inputs_are_refused():
    net = network("meta")
    given = inputs(net, 5)
    for which, bad in ((0, given[0][:, :3]), (1, None), (2, given[2][..., 1:]), (3, None)):
        with pytest.raises(ValueError, match="must be"):
            net(*[bad if i == which else x for i, x in enumerate(given)])
    with pytest.raises(ValueError, match="above"):
        net(*cut(given, 0, 2 * net.context))
    with pytest.raises(ValueError, match="tissue"):
        network("tissues")(*given[:4])


# ---- attention ------------------------------------------------------------------------------------------------------


def test_banded_attention_is_attention_with_a_mask():
    """Against softmax over all pairs, the band cut out, rotations by absolute position."""
    torch.manual_seed(0)
    width, length, hidden = 9, 200, 32
    attention = BandedAttention(hidden, width)
    memory = torch.randn(2, hidden, 1, length + 2 * width)
    query = torch.randn(2, hidden, 1, length)

    def heads(x):  # (B, heads, L, 16)
        return x[:, :, 0].unflatten(1, (-1, 16)).transpose(2, 3)

    def turned(x, start):
        turns = torch.logspace(0, 1, 8, base=1 / (2 * width + 2))
        angle = (start + torch.arange(x.shape[2]))[:, None] * turns
        z = torch.complex(*x.chunk(2, 3)) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([z.real, z.imag], 3)

    q = turned(heads(attention.query(query)), 1000 + width)
    k, v = (heads(x) for x in attention.memory(memory).chunk(2, 1))
    scores = q @ turned(k, 1000).transpose(2, 3) / 4
    far = torch.arange(length + 2 * width)[None] - torch.arange(length)[:, None]
    scores = scores.masked_fill((far < 0) | (far > 2 * width), -torch.inf)
    wanted = attention.out((scores.softmax(3) @ v).transpose(2, 3).flatten(1, 2)[:, :, None])
    assert (attention(query, memory) - wanted).abs().max() < 1e-4


def test_attention_memory_is_linear():
    """No tensor of a long input is much larger than a band: the largest grows with the length, not its square."""
    attention, sizes = BandedAttention(32, 64), []

    class Largest(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes[-1] = max(sizes[-1], out.numel())
            return out

    for length in (2000, 8000):
        sizes.append(0)
        with torch.no_grad(), Largest():
            attention(torch.zeros(1, 32, 1, length), torch.zeros(1, 32, 1, length + 128))
    assert sizes[1] < 4.2 * sizes[0]


# ---- pieces ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 70))
@settings(max_examples=40, deadline=None)
def test_sliding_is_a_window_at_a_time(span, length):
    x = torch.arange(length + span - 1).mul(37).remainder(101).float()[None]
    windows = x.unfold(1, span, 1)
    assert torch.equal(sliding(x, span, torch.add), windows.sum(2))
    assert torch.equal(sliding(x, span, torch.maximum), windows.amax(2))


@pytest.mark.parametrize("shape", [(2, 32, 1, 1001), (1, 3, 1, 5), (1, 1, 1, 200_000)])
def test_dropout_zeroes_its_share_and_keeps_the_mean(shape):
    torch.manual_seed(0)
    x = torch.ones(shape).contiguous(memory_format=torch.channels_last)
    y = blocks.dropout(x, 0.1)
    assert torch.equal(y, torch.where(y == 0, 0.0, torch.tensor(256 / 230)))
    if x.numel() > 1000:
        assert abs(float((y == 0).float().mean()) - 26 / 256) < 0.01
        # neither along positions nor along channels do neighbours fall together
        flat = (y == 0).float()[:, :, 0]
        for a, b in ((flat[..., 1:], flat[..., :-1]), (flat[:, 1:], flat[:, :-1])):
            if a.numel():
                assert abs(float((a * b).mean()) - (26 / 256) ** 2) < 0.003


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("kernel", "dilation"), [(11, 1), (5, 4), (3, 7)])
def test_gradients_of_convolutions_are_those_of_torch(threads, kernel, dilation):
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    ours = blocks.convolution(8, 16, kernel, dilation)
    x = blocks.images(torch.randn(3, 8, 90)).requires_grad_()
    other = x.detach().clone().requires_grad_()
    y, z = ours(x), nn.Conv2d.forward(ours, other)
    assert torch.equal(y, z)
    assert "Convolved" in type(y.grad_fn).__name__
    pull = torch.randn_like(y)
    wanted = torch.autograd.grad(z, (other, ours.weight, ours.bias), pull)
    for a, b in zip(torch.autograd.grad(y, (x, ours.weight, ours.bias), pull), wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() < 1e-4


def test_bfloat16_training_runs():
    net = models.build("meta", FULL)
    given = inputs(net, 10)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(*given)
    assert logits.dtype == torch.float32
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_dropout_follows_the_seed():
    x = torch.ones(1, 8, 1, 100)
    torch.manual_seed(3)
    first = blocks.dropout(x, 0.3)
    torch.manual_seed(3)
    assert torch.equal(first, blocks.dropout(x, 0.3))


# ---- training -------------------------------------------------------------------------------------------------------


@everywhere
def test_networks_learn(name):
    torch.manual_seed(0)
    net = models.build(*NETWORKS[name])
    given = inputs(net, 30, batch=4)
    # something that each stream can tell: the base model's call, turned round
    label = given[1][:, :3, net.context : net.context + 30].argmin(1)
    with_decay, without = models.decayed(net)
    optimiser = torch.optim.AdamW([{"params": with_decay}, {"params": without, "weight_decay": 0.0}], 0.01)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(*given).transpose(1, 2), label)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    unmoved = [k for k, p in net.named_parameters() if p.grad is None]
    assert not unmoved
    run(net.eval(), given)


def test_weight_decay_leaves_norms_and_blend_alone():
    net = network("two base models")
    decayed, free = (set(map(id, part)) for part in models.decayed(net))
    names = {id(p): k for k, p in net.named_parameters()}
    assert decayed | free == set(names)
    assert not decayed & free
    assert all("norm" not in names[i] and "blend" not in names[i] for i in decayed)
    assert all(p.dim() == 1 for p in map(dict(net.named_parameters()).get, (names[i] for i in free)))


def test_a_modality_that_is_missing_says_nothing():
    """Whatever the numbers were, after encoding an unknown modality is zeros and a mask of zeros."""
    net = network("meta")
    scaling = [
        {"modality": "a", "centre": 1.0, "scale": 2.0, "log1p": False},
        {"modality": "a", "centre": 0.0, "scale": 1.0, "log1p": False},
        {"modality": "b", "centre": -3.0, "scale": 0.5, "log1p": False},
    ]
    n = 9 + 2 * net.context
    random = np.random.default_rng(0)
    codes, base = random.integers(0, 5, n).astype(np.uint8), random.uniform(0, 0.5, (1, 2, n)).astype(np.float32)
    channels = random.normal(size=(3, n)).astype(np.float32)

    def logits(values, dropped=()):
        arrays = encode.encode(codes, base, values, scaling).arrays()
        sequence, scores, evidence, masks = (torch.from_numpy(x)[None].clone() for x in arrays)
        for row, mask in dropped:
            evidence[:, row], masks[:, mask] = 0, 0
        return run(net, [sequence, scores, evidence, masks])

    absent = channels.copy()
    absent[2] = np.nan
    assert torch.equal(logits(absent), logits(channels, dropped=[(2, 1)]))
    assert not torch.equal(logits(absent), logits(channels))


# ---- folded ---------------------------------------------------------------------------------------------------------


def engines(net: nn.Module) -> list[str]:
    shape = (net.config.hidden, getattr(net.config, "kernel", 0))
    return [e for e in rows.NAMES if net.kind == "meta" and rows.unfit(e, *shape, "cpu", "float32") is None] + ["auto"]


@everywhere
def test_folded_is_the_module(name):
    net = network(name)
    given = inputs(net, 500, batch=1)
    wanted = run(net, given)[0].numpy()
    arrays = [None if x is None else x[0].numpy() for x in given]
    for engine in engines(net):
        fast = Folded(net, engine=engine, threads=2)
        for fast.piece in (20_000, 150, 77):
            found = fast(*arrays)
            assert found.dtype == np.float32
            assert np.abs(found - wanted).max() < 1e-5 * max(1, np.abs(wanted).max()), (engine, fast.piece)


def test_folded_classic_network():
    net = scramble(MetaSpliceModel(MetaConfig(channels=9, masks=3)))
    given = inputs(net, 3000, batch=1)
    wanted = run(net, given)[0].numpy()
    codes = torch.cat([1 - given[0][0].sum(0, keepdim=True), given[0][0]]).argmax(0).numpy().astype(np.uint8)
    arrays = [x[0].numpy() for x in given[1:4]]
    before = torch.get_num_threads()
    for engine in engines(net):
        found = Folded(net, engine=engine)(codes, *arrays)
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert torch.get_num_threads() == before
    assert Folded(net).engine == ("onednn" if fft.missing() else "fft")


def test_folded_in_bfloat16_is_close():
    net = network("meta")
    given = inputs(net, 200, batch=1)
    wanted = run(net, given)[0].softmax(1).numpy()
    fast = Folded(net, dtype="bfloat16", engine="plain")
    found = torch.from_numpy(fast(*(None if x is None else x[0].numpy() for x in given))).softmax(1).numpy()
    assert 0 < np.abs(found - wanted).max() < 0.05


def test_folded_keeps_its_weights():
    net = network("meta")
    given = [None if x is None else x[0].numpy() for x in inputs(net, 10)]
    fast = Folded(net)
    before = fast(*given)
    scramble(net)
    assert np.array_equal(fast(*given), before)
    assert not np.array_equal(Folded(net)(*given), before)


def test_folded_refuses_what_it_cannot():
    net = network("48 channels")
    for arguments in ({"engine": "fft"}, {"dtype": "float16"}, {"engine": "warp"}):
        with pytest.raises(MetaError):
            Folded(net, **arguments)
    given = [x if x is None else x[0].numpy() for x in inputs(net, 5)]
    with pytest.raises(ValueError, match="above"):
        Folded(net)(*[x if x is None else x[:, : 2 * net.context] for x in given])
    with pytest.raises(ValueError, match="channels must be"):
        Folded(net)(given[0], given[1], None, given[3])
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        with pytest.raises(MetaError, match="use float32"):
            Folded(net, dtype="bfloat16")


def test_evidence_without_a_place_in_the_network_is_not_looked_at():
    """The encoder always makes masks; the classic form has no rows for them."""
    net = scramble(MetaSpliceModel(MetaConfig(**SHORT, channels=2)))
    given = inputs(net, 20, batch=1)
    more = torch.ones(1, 4, given[0].shape[2])
    assert torch.equal(run(net, [*given[:3], more]), run(net, given))
    folded = Folded(net)
    arrays = [x[0].numpy() for x in given[:3]]
    assert np.array_equal(folded(*arrays, more[0].numpy()), folded(*arrays))


# ---- settings -------------------------------------------------------------------------------------------------------


def test_settings_round_trip():
    for kind, options in NETWORKS.values():
        net = models.build(kind, options)
        again = models.build(kind, net.config.to_dict())
        assert again.config == net.config
        assert again.kind == kind


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("meta", {"hiden": 3}, "no such setting 'hiden'"),
        ("meta", {"kernel": 10}, "odd number"),
        ("meta", {"hidden": 0}, "at least 1"),
        ("meta", {"streams": ()}, "streams none"),
        ("meta", {"streams": ("channels",)}, "an input for each"),
        ("meta", {"streams": ("sequence", "smell")}, "smell"),
        ("meta", {"hidden": 24, "attention": 9}, "multiple of 16"),
        ("meta", {"fusion_dilations": (0,)}, "1 or more"),
        ("meta", {"tissues": 3, "tissue_features": 3}, "one or the other"),
        ("meta", {"dropout": 1.0}, "below 1"),
        ("window", {"window": 15}, "hold every kernel"),
        ("window", {"fusion": "sum"}, "fusion 'sum'"),
        ("window", {"decoder_dilations": (1,)}, "window has none"),
        ("forest", {}, "unknown kind"),
    ],
)
def test_wrong_settings_are_one_line_errors(kind, options, says):
    with pytest.raises(MetaError, match=says) as error:
        models.build(kind, options)
    assert "\n" not in str(error.value)
