"""Weights files: read as what they are, found where they are, refused where they are not what they should be.

Oracles share no code with the readers: for .h5 an interpreter of the stored Keras graph in float64, for .pt
the model class of the openspliceai package.
"""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from random_weights import PUBLISHED, random_codes, random_net, write_keras, write_openspliceai

from libmeta import basemodels, engines
from libmeta.basemodels import openspliceai, spliceai
from libmeta.errors import MetaError

SHARED = Path(__file__).parents[2] / "shared" / "data" / "openspliceai-mane"
# From the locus of a real exon-intron boundary no score is far from 0 or 1, so real weights are tested on
# this bait too: consensus acceptor, exon, consensus donor.
BAIT = (
    "TTTTTTTTCTTTTCCCTTTTTTGCAG"
    + "GATGAAGAAGCTGCTGAAGACCTGCAGGAGGCTGAAGAAATCAAGAAGCTGGAAGAGATCAAGCAG"
    + "GTAAGTATTTTTTT"
)


def bait_codes(length, context, seed=0):
    codes = random_codes(length, context, seed)
    bait = np.array(["NACGT".index(base) for base in BAIT], np.uint8)
    for start in range(context, context + length - len(bait), 400):
        codes[start : start + len(bait)] = bait
    return codes


def keras_oracle(path, codes):
    """Run the stored graph, layer by layer, in float64; (L, 3) in the file's own class order."""
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])["config"]
        arrays = {}
        file["model_weights"].visititems(
            lambda name, item: arrays.update({name: np.asarray(item, np.float64)}) if hasattr(item, "shape") else None
        )
    done = {}

    def weight(layer, key):
        (found,) = [array for name, array in arrays.items() if name.startswith(f"{layer}/") and f"/{key}:" in name]
        return torch.from_numpy(found)

    def run(layer):
        kind, own = layer["class_name"], layer["config"]
        inputs = [done[source[0]] for node in layer["inbound_nodes"] for source in node]
        if kind == "InputLayer":
            return torch.from_numpy(np.eye(5)[codes][:, 1:])
        if kind == "Conv1D":
            kernel, image = weight(own["name"], "kernel").permute(2, 1, 0), inputs[0].T[None]
            dilation = own["dilation_rate"][0]
            pad = (kernel.shape[2] - 1) * dilation // 2 if own["padding"] == "same" else 0
            out = torch.nn.functional.conv1d(image, kernel, weight(own["name"], "bias"), padding=pad, dilation=dilation)
            out = out[0].T
            return torch.softmax(out, 1) if own["activation"] == "softmax" else out
        if kind == "BatchNormalization":
            keys = ("gamma", "beta", "moving_mean", "moving_variance")
            gamma, beta, mean, variance = (weight(own["name"], key) for key in keys)
            return (inputs[0] - mean) / torch.sqrt(variance + own["epsilon"]) * gamma + beta
        if kind == "Activation":
            assert own["activation"] == "relu"
            return torch.clamp(inputs[0], min=0)
        if kind == "Add":
            return sum(inputs)
        assert kind == "Cropping1D"
        return inputs[0][own["cropping"][0] : -own["cropping"][1]]

    waiting = {layer["name"]: layer for layer in config["layers"]}
    while waiting:
        ready = [
            name
            for name, layer in waiting.items()
            if all(source[0] in done for node in layer["inbound_nodes"] for source in node)
        ]
        for name in ready:
            done[name] = run(waiting.pop(name))
    return done[config["output_layers"][0][0]].numpy()


def real_spliceai():
    try:
        return spliceai.find()
    except MetaError as reason:
        pytest.skip(f"no SpliceAI weights here: {reason}")


def real_openspliceai(context):
    folder = SHARED / f"{2 * context}nt"
    if not folder.is_dir():
        pytest.skip(f"no OpenSpliceAI weights at {folder}")
    return openspliceai.find(folder)


def their_class():
    """OpenSpliceAI's own model class, from its package when that is installed (GPL; used as an oracle
    only).
    """
    return pytest.importorskip(
        "openspliceai.train_base.openspliceai", reason="the openspliceai package is not installed"
    ).SpliceAI


def openspliceai_oracle(path, codes):
    """Run the package's own class in float64; (L, 3) in its own class order."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    groups = {64: 1, 122: 2, 180: 3, 238: 4}[len(state)]
    kernels = np.repeat([11, 11, 21, 41][:groups], 4)
    dilations = np.repeat([1, 4, 10, 25][:groups], 4)
    model = their_class()(32, kernels, dilations)
    model.load_state_dict(state)
    with torch.inference_mode():
        sequence = torch.from_numpy(np.eye(5)[codes][:, 1:].T[None])
        return model.double().eval()(sequence)[0].T.numpy()


def test_spliceai_random_equals_the_graph(tmp_path):
    path = tmp_path / "a.h5"
    write_keras(path, random_net(5000, seed=3))
    codes = random_codes(250, 5000)
    (net,) = spliceai.read([path])
    assert (net.context, net.channels, len(net.blocks), [skip.after for skip in net.skips]) == (
        5000,
        32,
        16,
        [0, 4, 8, 12, 16],
    )
    ours = engines.build([net], "torch").score(codes)
    assert np.abs(ours - keras_oracle(path, codes)[:, PUBLISHED]).max() < 1e-5


@pytest.mark.parametrize("keras3", [False, True])
def test_spliceai_files_come_back_as_written(tmp_path, keras3):
    path, net = tmp_path / "a.h5", random_net(1000, seed=5)
    write_keras(path, net, keras3)
    (read,) = spliceai.read([path])
    assert_same(read, net)


@pytest.mark.parametrize("context", [40, 200, 1000, 5000])
def test_openspliceai_files_come_back_as_written(tmp_path, context):
    path, net = tmp_path / "a.pt", random_net(context, slope=0.1, eps=1e-5, seed=context)
    write_openspliceai(path, net)
    (read,) = openspliceai.read([path])
    assert read.context == context
    assert_same(read, net)


def converted(folder, seed=0):
    """A .pt and the .safetensors that the command makes of it."""
    path = folder / "a.pt"
    write_openspliceai(path, random_net(200, slope=0.1, eps=1e-5, seed=seed))
    openspliceai.main([str(folder)])
    return path, path.with_suffix(".safetensors")


def test_converted_weights_are_read_without_torch(tmp_path):
    path, copy = converted(tmp_path)
    code = f"""
import sys
from libmeta.basemodels import openspliceai
assert len(openspliceai.read(openspliceai.find({str(tmp_path)!r}))) == 1
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (fast,) = openspliceai.read([path])
    copy.unlink()
    (slow,) = openspliceai.read([path])
    assert_same(fast, slow)


def test_converted_weights_of_another_file_are_not_taken(tmp_path):
    path, _ = converted(tmp_path)
    other = random_net(200, slope=0.1, eps=1e-5, seed=1)
    write_openspliceai(path, other)
    (read,) = openspliceai.read([path])
    assert_same(read, other)


def test_converted_weights_that_are_damaged(tmp_path):
    path, copy = converted(tmp_path)
    copy.write_bytes(copy.read_bytes()[:1000])
    with pytest.raises(MetaError, match=r"not safetensors or truncated, .*a\.safetensors; remove it"):
        openspliceai.read([path])


def test_conversion_of_what_is_no_network(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(MetaError, match=r"not a network of the SpliceAI family \(no initial_skip"):
        openspliceai.main([str(tmp_path)])
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("context", [40, 200, 1000, 5000])
def test_openspliceai_random_equals_the_package(tmp_path, context):
    path = tmp_path / "a.pt"
    write_openspliceai(path, random_net(context, slope=0.1, eps=1e-5, seed=context))
    codes = random_codes(250, context)
    ours = engines.build(openspliceai.read([path]), "torch").score(codes)
    assert np.abs(ours - openspliceai_oracle(path, codes)[:, PUBLISHED]).max() < 1e-5


def test_spliceai_real_equals_the_graph():
    path = real_spliceai()[0]
    codes = bait_codes(500, 5000)
    oracle = keras_oracle(path, codes)[:, PUBLISHED]
    assert oracle[:, 0].max() > 0.1 and oracle[:, 1].max() > 0.1
    for engine in engines.available():
        ours = engines.build(spliceai.read([path]), engine).score(codes)
        assert np.abs(ours - oracle).max() < 1e-5, engine
    assert np.abs(engines.build(spliceai.read([path]), dtype="bfloat16").score(codes) - oracle).max() < 0.02


@pytest.mark.parametrize("context", [200, 5000])
def test_openspliceai_real_equals_the_package(context):
    path = real_openspliceai(context)[0]
    codes = bait_codes(500, context)
    oracle = openspliceai_oracle(path, codes)[:, PUBLISHED]
    assert oracle[:, 0].max() > 0.1 and oracle[:, 1].max() > 0.1
    for engine in engines.available():
        ours = engines.build(openspliceai.read([path]), engine).score(codes)
        assert np.abs(ours - oracle).max() < 1e-5, engine


@pytest.mark.parametrize("model", ["spliceai", "openspliceai"])
def test_classes_are_donor_acceptor_neither(model):
    paths = real_spliceai() if model == "spliceai" else real_openspliceai(5000)
    nets = basemodels.get(model).read(paths[:1])
    codes = bait_codes(300, 5000)
    scores = engines.build(nets, "torch").score(codes)
    # The bait at 0: 26 bases up to AG, 66 of exon. Acceptor: first exonic base; donor: last exonic base.
    assert scores[:200, 1].argmax() == 26
    assert scores[:200, 0].argmax() == 26 + 66 - 1
    assert (scores[100:200].argmax(1) == 2).all()


def assert_same(read, net):
    flat = [conv for skip in (read.skips, net.skips) for conv in [skip]]
    assert [skip.after for skip in flat[0]] == [skip.after for skip in flat[1]]
    assert read.negative_slope == net.negative_slope
    pairs = [(read.initial, net.initial), (read.final, net.final)]
    pairs += [(ours.conv, theirs.conv) for ours, theirs in zip(read.skips, net.skips, strict=True)]
    for ours, theirs in zip(read.blocks, net.blocks, strict=True):
        pairs += zip(vars(ours).values(), vars(theirs).values(), strict=True)
    for ours, theirs in pairs:
        for key, value in vars(theirs).items():
            assert np.array_equal(getattr(ours, key), value), key


def test_discovery():
    assert {"spliceai", "openspliceai"} <= set(basemodels.names())
    for name in basemodels.names():
        module = basemodels.get(name)
        assert name == module.NAME and module.LICENCE and callable(module.find) and callable(module.read)
        assert {"2", "10", "22", "X", "Y"} <= set(module.TRAINED_ON) and not {"1", "3", "5", "7", "9"} & set(
            module.TRAINED_ON
        )
    with pytest.raises(MetaError, match=r"unknown base model alphafold; the known ones are .*openspliceai, .*spliceai"):
        basemodels.get("alphafold")


@pytest.fixture
def folder(tmp_path):
    for number in (10, 2, 1):
        write_keras(tmp_path / f"spliceai{number}.h5", random_net(40, seed=number))
        write_openspliceai(tmp_path / f"model_rs{number}.pt", random_net(40, slope=0.1, eps=1e-5, seed=number))
    return tmp_path


def test_find(folder, monkeypatch):
    in_order = [folder / f"spliceai{number}.h5" for number in (1, 2, 10)]
    assert spliceai.find(folder) == in_order
    assert spliceai.find(folder.parent if len(list(folder.parent.iterdir())) == 1 else folder) == in_order
    assert spliceai.find(str(in_order[1])) == [in_order[1]]
    assert spliceai.find([in_order[2], in_order[0]]) == [in_order[2], in_order[0]]
    monkeypatch.setenv("MS_OPENSPLICEAI_WEIGHTS", str(folder))
    assert [path.name for path in openspliceai.find()] == [f"model_rs{number}.pt" for number in (1, 2, 10)]
    monkeypatch.setenv("MS_SPLICEAI_WEIGHTS", str(folder))
    assert spliceai.find() == in_order


def test_find_in_the_working_directory(folder, monkeypatch):
    monkeypatch.delenv("MS_OPENSPLICEAI_WEIGHTS", raising=False)
    monkeypatch.chdir(folder)
    with pytest.raises(MetaError, match="run `make weights` or give --weights FOLDER"):
        openspliceai.find()
    os.mkdir("weights")
    os.mkdir("weights/openspliceai")
    with pytest.raises(MetaError, match=r"no \.pt weights in weights/openspliceai"):
        openspliceai.find()
    os.rename("model_rs1.pt", "weights/openspliceai/model_rs1.pt")
    assert openspliceai.find() == [Path("weights/openspliceai/model_rs1.pt")]


def test_find_an_installed_package(folder, monkeypatch):
    package = folder / "site" / "spliceai"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "spliceai1.h5").rename(package / "models" / "spliceai1.h5")
    monkeypatch.delenv("MS_SPLICEAI_WEIGHTS", raising=False)
    monkeypatch.chdir(folder / "site" / "spliceai" / "models")
    monkeypatch.syspath_prepend(str(folder / "site"))
    importlib.invalidate_caches()
    assert spliceai.find() == [package / "models" / "spliceai1.h5"]


def test_find_nothing(tmp_path):
    with pytest.raises(MetaError, match=r"no weights at .*nowhere; run `make weights`"):
        spliceai.find(tmp_path / "nowhere")
    with pytest.raises(MetaError, match=r"no \.h5 weights in"):
        spliceai.find(tmp_path)
    for name in ("80nt", "400nt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.pt").touch()
    with pytest.raises(MetaError, match=r"several sets of .pt weights .*\(80nt, 400nt\)"):
        openspliceai.find(tmp_path)


def test_digest(folder):
    paths = spliceai.find(folder)
    digest = spliceai.digest(paths)
    assert len(digest) == 64 and digest == openspliceai.digest(paths)
    assert digest != spliceai.digest(paths[::-1]) and digest != spliceai.digest(paths[:2])


def change_config(path, change):
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change({layer["name"]: layer for layer in config["config"]["layers"]}, config)
        file.attrs["model_config"] = json.dumps(config)


def no_weights(path):
    with h5py.File(path, "r+") as file:
        del file["model_weights/conv1d_5/conv1d_5/bias:0"]


def no_config(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]


def not_json(path):
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "SpliceAI"


BAD_H5 = {
    "text": (lambda path: path.write_text("404 not found\n"), "cannot read Keras weights"),
    "empty": (lambda path: path.write_bytes(b""), "cannot read Keras weights"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:30000]), "cannot read Keras weights"),
    "missing weights": (no_weights, "no bias of conv1d_5"),
    "weights only": (no_config, "no model_config"),
    "no JSON": (not_json, "its model_config has no layers"),
    "a sequential": (
        lambda p: change_config(p, lambda _, c: c.update(config=[])),
        "its model_config has no layers",
    ),
    "sigmoid": (
        lambda p: change_config(p, lambda b, _: b["activation_2"]["config"].update(activation="sigmoid")),
        "ReLU",
    ),
    "other crop": (
        lambda p: change_config(p, lambda b, _: b["cropping1d_1"]["config"].update(cropping=[9, 9])),
        "crops",
    ),
    "no crop": (
        lambda p: change_config(p, lambda b, _: b["cropping1d_1"].update(class_name="Dense")),
        "no cropping",
    ),
}


@pytest.mark.parametrize("case", BAD_H5)
def test_bad_h5(folder, case):
    damage, message = BAD_H5[case]
    path = folder / "spliceai2.h5"
    damage(path)
    with pytest.raises(MetaError, match=message) as caught:
        spliceai.read(spliceai.find(folder))
    assert "spliceai2.h5" in str(caught.value) and "\n" not in str(caught.value)


def state_changed(path, change):
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


class Rascal:
    def __reduce__(self):
        return (os.system, ("exit 1",))


def set_nan(state):
    state["residual_units.2.conv1.weight"][0, 0, 0] = float("nan")


BAD_PT = {
    "text": (lambda path: path.write_text("404 not found\n"), "plain torch weights|cannot read"),
    "empty": (lambda path: path.write_bytes(b""), "cannot read torch weights"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:30000]), "cannot read torch weights"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"a": Rascal()})), "plain torch weights"),
    "pickle in torch": (lambda path: torch.save({"a": Rascal()}, path), "plain torch weights"),
    "a list": (lambda path: torch.save([1, 2], path), "not a dictionary of tensors"),
    "other network": (lambda path: torch.save({"w": torch.zeros(3)}, path), "no initial_skip.conv.weight"),
    "missing": (
        lambda p: state_changed(p, lambda s: s.pop("residual_units.1.batchnorm2.running_var")),
        "no residual_units.1",
    ),
    "missing block": (
        lambda p: state_changed(p, lambda s: [s.pop(k) for k in list(s) if "units.3." in k]),
        "no residual_units.3.conv1",
    ),
    "kernel": (
        lambda p: state_changed(p, lambda s: s.update({"residual_units.0.conv1.weight": torch.zeros(32, 32, 9)})),
        "kernel of 9",
    ),
    "shape": (
        lambda p: state_changed(p, lambda s: s.update({"initial_conv.weight": torch.zeros(32, 5, 1)})),
        "first convolution",
    ),
    "not finite": (lambda p: state_changed(p, set_nan), "not finite"),
}


@pytest.mark.parametrize("case", BAD_PT)
def test_bad_pt(folder, case):
    damage, message = BAD_PT[case]
    path = folder / "model_rs2.pt"
    damage(path)
    with pytest.raises(MetaError, match=message) as caught:
        openspliceai.read(openspliceai.find(folder))
    assert "model_rs2.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_mixed_contexts(tmp_path):
    for context in (40, 200):
        write_openspliceai(tmp_path / f"model_{context}.pt", random_net(context, slope=0.1, eps=1e-5))
        write_keras(tmp_path / f"model_{context}.h5", random_net(context))
    for model, suffix in ((openspliceai, "pt"), (spliceai, "h5")):
        with pytest.raises(MetaError, match=rf"context of 400 bases in .*model_200.{suffix} but 80 in"):
            model.read(model.find(tmp_path))
