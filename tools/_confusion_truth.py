"""What is true of a framework's export, and which rules say so: the rows of a confusion table.

Nothing here asks bnopt. The truth about an export of TensorFlow is worked out from the manifest
beside it and from the variables stored with it; about one of PyTorch from its name, and from what
the network itself gives in evaluation and in training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Arrays = Mapping[str, NDArray[Any]]

STATISTICS = frozenset(("never-updated", "wrong-scope", "half-updated"))
DATA = frozenset(("stale-statistics", "unusual-output"))
RESIDUE = frozenset(("barely-updated", "one-step"))
BATCH = frozenset(("training-mode", "batch-statistics", "batch-dependence"))


@dataclass(frozen=True)
class Truth:
    """One row.

    Attributes:
        name: What is so.
        right: The codes that say it; none where there is nothing to say.
        mistake: Whether it counts as missed if none of them is an error or a warning.
        sound: Whether an error by any other code is a false alarm.
        agrees: Whether that holds with data too: the statistics are known to be those of the data.
        must: Whether a miss fails the run: the evidence is always left.
    """

    name: str
    right: frozenset[str] = frozenset()
    mistake: bool = False
    sound: bool = False
    agrees: bool = False
    must: bool = False


NEVER = Truth("never updated", STATISTICS | DATA, mistake=True)
INITIAL = Truth("at initial values, not a mistake", STATISTICS | DATA, mistake=True)
HARDLY = Truth("hardly updated", RESIDUE | DATA, mistake=True)
HALFWAY = Truth("on the way (right for the manifest)", RESIDUE | DATA)
TRAINING = Truth("training graph, batch statistics", BATCH, mistake=True, must=True)
INFERENCE = Truth("training graph, but the ONNX is right", sound=True)
PER_ACTIVATION = Truth("statistics per activation", frozenset(("per-activation",)), mistake=True)
SWITCH = Truth("training switch left as an input", frozenset(("training-switch",)), sound=True)
TRAINED = Truth("right, trained", sound=True, agrees=True)
DRAWN = Truth("right, statistics drawn or not stored", sound=True)
LOOKALIKE = Truth("no batch norm (lookalikes)", sound=True, agrees=True)
TORCH_EVAL = Truth("PyTorch, exported for inference", sound=True)
TORCH_TRAIN = Truth("PyTorch, exported in training", BATCH, mistake=True, must=True)
TORCH_DYNAMO = Truth("PyTorch, training, but the ONNX is right", sound=True)
TORCH_NO_TRACK = Truth("PyTorch, batch statistics on purpose", BATCH, mistake=True)

TRUTHS = (
    NEVER,
    INITIAL,
    HARDLY,
    HALFWAY,
    TRAINING,
    INFERENCE,
    PER_ACTIVATION,
    SWITCH,
    TRAINED,
    DRAWN,
    LOOKALIKE,
    TORCH_EVAL,
    TORCH_TRAIN,
    TORCH_DYNAMO,
    TORCH_NO_TRACK,
)

_MEAN = re.compile(r"(moving_(mean|avg)|bn__mean)$")
_VARIANCE = re.compile(r"(moving_var(iance)?|bn__var)$")
_AVERAGE = "ExponentialMovingAverage"
_DECAY = re.compile(r"(?:decay|momentum) (\.\d+), (\d+) steps")
_TRAINS = re.compile(r"_(ts_training|ts_preserve_train|dyn_train)(_noopt|_opset\d+)?$")


@dataclass(frozen=True)
class Export:
    """One ONNX file with what is true of it.

    Attributes:
        path: The file.
        kind: How it was exported: `default`, `noopt`, `op13`; `TorchScript`, `dynamo`, `other`.
        truth: Its row.
        arrays: The file of arrays that came with it; it need not exist.
    """

    path: Path
    kind: str
    truth: Truth
    arrays: Path


def exports(folder: Path) -> Iterator[Export]:
    """All exports below `tensorflow/` and `torch/` of a folder."""
    manifest = folder / "tensorflow" / "manifest.json"
    for entry in json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else ():
        stored = manifest.with_name(f"{entry['case']}.npz")
        truth = tensorflow_truth(entry, load(stored))
        for name in entry["files"]:
            if name.endswith(".onnx"):
                kind = name.removesuffix(".onnx").partition("__")[2] or "default"
                yield Export(manifest.with_name(name), kind, truth, stored)
    for path in sorted((folder / "torch").glob("*.onnx")):
        case, _, mode = path.stem.partition("__")
        kind = {"ts": "TorchScript", "dyn": "dynamo"}.get(mode.partition("_")[0], "other")
        stored = path.with_name(f"{case}.npz")
        truth = torch_truth(path.stem, load(stored))
        if truth is TORCH_EVAL and any_initial(onnx.load(path).graph):
            truth = INITIAL
        yield Export(path, kind, truth, stored)


@cache
def load(path: Path) -> Arrays:
    """The arrays of an archive; none where there is no such file."""
    if not path.is_file():
        return {}
    with np.load(path) as archive:
        return dict(archive)


def tensorflow_truth(entry: Mapping[str, Any], arrays: Arrays) -> Truth:
    """What the manifest and the variables of a case amount to.

    Args:
        entry: A case of the manifest.
        arrays: What is stored with it; `calib__x` among them shows that it can be fed.
    """
    what: str = entry["what"]
    decay = _DECAY.search(what)
    if "not batch norm" in what:
        return LOOKALIKE
    if entry["mistake"] and _number(entry["batch_dependence"]) > 1e-3:
        return TRAINING
    if any(_VARIANCE.search(name) and array.ndim > 1 for name, array in arrays.items()):
        return PER_ACTIVATION
    if "If(" in entry["default"]:
        return SWITCH
    if at_initial_values(arrays, what):
        return NEVER if entry["mistake"] else INITIAL
    if entry["mistake"]:
        return INFERENCE if "training" in what else HARDLY
    if decay and float(decay[1]) ** int(decay[2]) > 0.1:
        return HALFWAY
    return TRAINED if was_trained(arrays) else DRAWN


def at_initial_values(arrays: Arrays, what: str) -> bool:
    """Whether any stored mean is 0 and any stored variance 1, in all channels.

    Any, for a scope that was never updated may stand beside one that was. Where averages of the
    variables are stored, these are what inference uses. Without statistics, `what` must say it.
    """
    means = [array for name, array in arrays.items() if _MEAN.search(name)]
    variances = [array for name, array in arrays.items() if _VARIANCE.search(name)]
    averages = {name: array for name, array in arrays.items() if name.endswith(_AVERAGE)}
    if averages:
        means = [array for name, array in averages.items() if "|mean|" in name]
        variances = [array for name, array in averages.items() if "|variance|" in name]
    if not means or not variances:
        return "never run" in what
    return any(not m.any() for m in means) and any((v == 1).all() for v in variances)


def was_trained(arrays: Arrays) -> bool:
    """Whether the variables come from training, so that the statistics are those of the data.

    In some dozens of steps neither gamma nor beta gets far from 1 and 0; made-up ones are drawn
    from [0.5, 1.5] and a normal distribution. A batch norm with neither comes from training if the
    classifier behind it is stored too: the networks that were trained have one.
    """
    gammas = [a for name, a in arrays.items() if name.endswith("gamma")]
    betas = [a for name, a in arrays.items() if name.endswith("beta")]
    if not any(_VARIANCE.search(name) or name.endswith(_AVERAGE) for name in arrays):
        return False
    if not gammas and not betas:
        return "var__logits|weights" in arrays
    far = [float(np.abs(a - 1).max()) for a in gammas] + [float(np.abs(a).max()) for a in betas]
    return max(far) < 0.3


def torch_truth(stem: str, arrays: Arrays) -> Truth:
    """What the name of an export says, where training makes a difference to the network at all.

    The dynamo exporter writes inference whatever the mode: these exports give what the network
    gives in evaluation. Instance norm is no batch norm, even where it tracks statistics.
    """
    if stem.startswith("instnorm"):
        return LOOKALIKE
    if stem.startswith("bn_no_track"):
        return TORCH_NO_TRACK
    if not _TRAINS.search(stem):
        return TORCH_EVAL
    pairs = [
        (array, arrays[f"y_{name.removeprefix('ytrain_')}"])
        for name, array in arrays.items()
        if name.startswith("ytrain_")
    ]
    same = bool(pairs) and all(np.array_equal(trained, y) for trained, y in pairs)
    if same:
        return TORCH_EVAL
    return TORCH_DYNAMO if "__dyn" in stem else TORCH_TRAIN


def any_initial(graph: onnx.GraphProto, outer: Mapping[str, onnx.TensorProto] = {}) -> bool:
    """Whether any batch norm has mean 0 and variance 1 throughout: a branch that never ran.

    Args:
        graph: A graph, whose subgraphs are looked at too.
        outer: The weights of the graphs around it.
    """
    weights = {**outer, **{tensor.name: tensor for tensor in graph.initializer}}
    for node in graph.node:
        if any(any_initial(a.g, weights) for a in node.attribute if a.HasField("g")):
            return True
        if node.op_type == "BatchNormalization" and {*node.input[3:5]} <= weights.keys():
            mean, variance = (numpy_helper.to_array(weights[name]) for name in node.input[3:5])
            if not mean.any() and (variance == 1).all():
                return True
    return False


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
