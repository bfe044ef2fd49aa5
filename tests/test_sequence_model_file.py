"""Sequence model files: what goes in comes out, and what is not one of ours is refused in one line."""

import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch

from libmeta import models, schema
from libmeta.check import check_file
from libmeta.errors import MetaError
from libmeta.models.file import SequenceModel

CHANNELS = [
    {"name": "conservation.phylop_score", "modality": "conservation", "log1p": False, "centre": 0.1, "scale": 1.5},
    {"name": "rbp_eclip.rbp_n_bound", "modality": "rbp_eclip", "log1p": True, "centre": 0.0, "scale": 1.0},
]
SMALL = {"sequence_dilations": [1], "channel_dilations": [1], "fusion_dilations": [1], "channels": 2, "masks": 2}


def trained(kind: str = "meta", settings: dict | None = None, **change) -> SequenceModel:
    torch.manual_seed(1)
    network = models.build(kind, {**(SMALL if kind == "meta" else {"channels": 2, "masks": 2}), **(settings or {})})
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor))
    fields = {
        "config": network.config.to_dict(), "kind": kind, "recipe": "m1-s", "target": "class",
        "base_models": [{"name": "spliceai"}], "channels": CHANNELS, "modalities": ["conservation", "rbp_eclip"],
        "is_base": False, "prior": [-8.5, -8.25, -0.0004], "split": {"name": "held-out"},
        "training": {"epochs": 3, "é": 0.1}, "provenance": [{"tool": "ms-train"}], "state": network.state_dict(),
    }  # fmt: skip
    return SequenceModel(**{**fields, **change})


def write(path, model: SequenceModel):
    path.write_bytes(model.to_bytes())
    return path


@pytest.mark.parametrize("kind", models.KINDS)
def test_round_trip_is_exact(tmp_path, kind):
    model = trained(kind)
    back = SequenceModel.from_file(write(tmp_path / "m.safetensors", model))
    assert {k: v for k, v in vars(back).items() if k != "state"} == {
        k: v for k, v in vars(model).items() if k != "state"
    }
    assert back.state.keys() == model.state.keys()
    assert all(torch.equal(back.state[k], model.state[k]) for k in model.state)
    assert back.to_bytes() == model.to_bytes()
    network = back.network()
    assert not network.training
    assert network.kind == kind
    assert network.config.to_dict() == model.config


def test_bytes_do_not_depend_on_the_order_of_the_header():
    """safetensors draws the order of its metadata anew in every call; ours is sorted."""
    raw = trained().to_bytes()
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    assert len(header) % 8 == 0
    assert header.rstrip() == json.dumps(json.loads(header), sort_keys=True, separators=(",", ":")).encode()
    assert all(trained().to_bytes() == raw for _ in range(5))


def test_header_is_plain_safetensors(tmp_path):
    path = write(tmp_path / "m.safetensors", trained())
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
    wanted = {k["name"] for k in schema.load("sequence_model").keys} | {"format", "version"}
    assert set(header) == {f"ms.{k}" for k in wanted}
    assert json.loads(header["ms.channels"]) == CHANNELS


def test_a_model_that_is_the_base(tmp_path):
    model = trained(is_base=True, state={})
    network = SequenceModel.from_file(write(tmp_path / "m.safetensors", model)).network()
    n = 1 + 2 * network.context
    base = torch.randn(1, 3, n).log_softmax(1)
    logits = network(torch.zeros(1, 4, n), base, torch.zeros(1, 2, n), torch.zeros(1, 2, n))
    assert np.allclose(logits[0, 0].softmax(0).detach(), base[0, :, n // 2].exp(), atol=1e-6)


def test_checker_reads_them(tmp_path):
    assert "sequence model, meta, recipe m1-s, 2 channels" in check_file(write(tmp_path / "m.safetensors", trained()))
    with pytest.raises(MetaError, match="no provenance"):
        check_file(write(tmp_path / "n.safetensors", trained(provenance=[])))


@pytest.mark.parametrize("cut", [0, 5, 100, 4000, -1])
def test_truncated_files_are_refused(tmp_path, cut):
    path = tmp_path / "m.safetensors"
    path.write_bytes(trained().to_bytes()[:cut])
    with pytest.raises(MetaError, match="truncated") as error:
        SequenceModel.from_file(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_foreign_files_are_refused(tmp_path):
    for content in (b"\x00" * 64, b"PK\x03\x04 a pickle", b'{"format": "metrics"}'):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(MetaError, match="not a safetensors file"):
            SequenceModel.from_file(tmp_path / "x")
    (tmp_path / "y").write_bytes(safetensors.torch.save({"a": torch.zeros(2)}, {"by": "another"}))
    with pytest.raises(MetaError, match="not a sequence model"):
        SequenceModel.from_file(tmp_path / "y")
    with pytest.raises(MetaError, match="no such model"):
        SequenceModel.from_file(tmp_path / "absent")


def rewritten(tmp_path, **header):
    """A file with keys of its header replaced (None: left out)."""
    model = trained()
    values = {k: getattr(model, k) for k in vars(model) if k != "state"}
    values |= {"format": "sequence_model", "version": 1, **header}
    meta = {f"ms.{k}": json.dumps(v) for k, v in values.items() if v is not None}
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in model.state.items()}, meta))
    return path


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "model"}, "not a sequence model"),
        ({"channels": None}, "no list channels"),
        ({"config": "x"}, "no object config"),
        ({"config": {"hiden": 32, "channels": 2, "masks": 2}}, "'hiden'"),
        ({"config": {**SMALL, "hidden": 16}}, "does not fit"),
        ({"config": {**SMALL, "channels": 3}}, "3 channels in the network, 2 in the file"),
        ({"modalities": []}, "2 masks in the network, 0 in the file"),
        ({"kind": "tree"}, "unknown kind"),
    ],
)
def test_files_that_do_not_hold_together_are_refused(tmp_path, header, says):
    path = rewritten(tmp_path, **header)
    with pytest.raises(MetaError, match=re.escape(says)) as error:
        SequenceModel.from_file(path)
    assert str(path) in str(error.value)


def test_a_good_rewritten_file_is_read(tmp_path):
    assert SequenceModel.from_file(rewritten(tmp_path)).recipe == "m1-s"
