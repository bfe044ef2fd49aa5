"""Sequence models as files that stand alone: safetensors whose header holds all that prediction needs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from libmeta import models, schema
from libmeta.errors import MetaError

_TYPES = {"string": str, "object": dict, "list": list, "boolean": bool}


@dataclass
class SequenceModel:
    """A trained sequence model.

    config: settings of the network (MetaConfig or WindowConfig as a dict). kind: one of models.KINDS. channels: name,
    modality, log1p, centre, scale of each, in order. modalities: in the order of the masks. is_base: the model is the
    base model; its weights are those of a start and may be left out. prior: log-probabilities of the three classes.
    state: the network's state_dict. tissues: of a model of tissues, what it knows of them (schemas/sequence_model.toml).
    """

    config: dict
    kind: str
    recipe: str
    target: str
    base_models: list[dict]
    channels: list[dict]
    modalities: list[str]
    is_base: bool
    prior: list[float]
    split: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    provenance: list = field(default_factory=list)
    tissues: dict = field(default_factory=dict)
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file's content; the same model gives the same bytes."""
        form = schema.load("sequence_model")
        values = {"format": form.name, "version": form.version, **{k: getattr(self, k) for k in _FIELDS}}
        meta = {f"ms.{k}": json.dumps(v, sort_keys=True) for k, v in values.items()}
        state = {k: v.detach().cpu().contiguous() for k, v in self.state.items()}
        return _sorted_header(safetensors.torch.save(state, meta))

    @classmethod
    def from_file(cls, path: str | Path) -> "SequenceModel":
        """Read a model file; MetaError where it is absent, cut short, not one of ours, or of another version."""
        if not Path(path).is_file():
            raise MetaError(f"no such model, {path}; check the path")
        try:
            with safetensors.safe_open(path, "pt") as file:
                values = _values(file.metadata() or {}, path)
                state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except safetensors.SafetensorError as error:
            raise MetaError(f"not a safetensors file or truncated, {path}; make it with ms-train") from error
        return cls(**values, state=state)._checked(path)

    def network(self) -> nn.Module:
        """The network in evaluation mode. MetaError where the weights do not fit the settings."""
        network = models.build(self.kind, self.config)
        if not (self.is_base and not self.state):
            wanted = network.state_dict()
            odd = sorted(set(wanted) ^ set(self.state))
            odd = odd or sorted(k for k in wanted if wanted[k].shape != self.state[k].shape)
            if odd:
                raise MetaError(f"weight {odd[0]} does not fit the settings of a {self.kind} network; train it again")
            network.load_state_dict(self.state)
        return network.eval()

    def _checked(self, path: str | Path) -> "SequenceModel":
        counts = {"channels": (len(self.channels),), "masks": (0, len(self.modalities))}
        counts["base_models"] = (len(self.base_models),)
        for name, allowed in counts.items():
            there = self.config.get(name, 1 if name == "base_models" else 0)
            if there not in allowed:
                raise MetaError(f"{there} {name} in the network, {allowed[-1]} in the file, {path}; train it again")
        try:
            self.network()
        except MetaError as error:
            what, _, remedy = str(error).partition("; ")
            raise MetaError(f"{what}, {path}; {remedy}") from error
        return self


_FIELDS = [f for f in SequenceModel.__dataclass_fields__ if f != "state"]


def _values(header: dict[str, str], path: str | Path) -> dict:
    """Fields from the header's ms.* keys, each there and of its type."""
    form = schema.load("sequence_model")
    try:
        values = {k[3:]: json.loads(v) for k, v in header.items() if k.startswith("ms.")}
    except json.JSONDecodeError as error:
        raise MetaError(f"a header that is not JSON, {path}; make it with ms-train") from error
    if values.get("format") != form.name:
        raise MetaError(f"a safetensors file, but not a sequence model of ms-train, {path}; it has no ms.* keys")
    if values.get("version") != form.version:
        raise MetaError(f"{form.name} version {values.get('version')}, {path}; train it again with this version")
    for key in form.keys:
        if key.get("optional") and key["name"] not in values:
            continue
        if not isinstance(values.get(key["name"]), _TYPES[key["type"]]):
            raise MetaError(f"no {key['type']} {key['name']} in the header, {path}; train it again")
    return {k: values[k] for k in _FIELDS if k in values}


def _sorted_header(raw: bytes) -> bytes:
    """The same file with its header's keys in order: safetensors leaves the order of metadata to chance."""
    length = int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + raw[8 + length :]
