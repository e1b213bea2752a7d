"""Measure the judge: right folds it rejects, planted errors it lets through.

    python tools/judge_power.py FOLDER_OR_MODEL... [--match PATTERN] [--no-plants] [--no-truth]

For each model a fold of this script's own (Conv, ConvTranspose of one group and Gemm followed by
an inference batch norm, in float64, rounded once) is the right candidate. Planted errors are made
in the folded model: a channel's scale or shift off, two channels swapped, a whole batch norm's
statistics skipped, a wrong epsilon. A plant counts only if it is observable: if the float64
function of the mutant differs from that of the original by more than `OBSERVABLE` of some
channel's size. The fixed tolerance of most tools is measured beside it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from bnopt.errors import BnoptError
from bnopt.judge import bench, compare_models
from bnopt.judge.compare import difference, is_float, magnitude, per_channel, views
from bnopt.runtime.feeds import Sizes, generate, ladder
from bnopt.runtime.interface import read_interface
from bnopt.runtime.process import Worker

OBSERVABLE = 1e-5
HOSTS = ("Conv", "ConvTranspose", "Gemm")


@dataclass
class Fold:
    """One fold: the host's weight and bias names, and where its output channels are."""

    weight: str
    bias: str
    axis: int
    scale: np.ndarray
    epsilon: float
    variance: np.ndarray


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def fold(model: onnx.ModelProto) -> list[Fold]:
    """Fold in place; returns what was folded."""
    graph, known, folds = model.graph, constants(model), []
    readers = Counter(name for node in graph.node for name in node.input)
    producer = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    for bn in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        host = producer.get(bn.input[0])
        parameters = [known.get(name) for name in bn.input[1:5]]
        if host is None or host.op_type not in HOSTS or any(p is None for p in parameters):
            continue
        weight = known.get(host.input[1])
        taken = readers[bn.input[0]] > 1 or bn.input[0] in outputs or len(bn.output) > 1
        if weight is None or taken or attribute(bn, "training_mode", 0):
            continue
        if host.op_type == "Gemm" and (
            attribute(host, "alpha", 1.0) != 1.0
            or attribute(host, "beta", 1.0) != 1.0
            or attribute(host, "transA", 0)
        ):
            continue
        if host.op_type == "ConvTranspose" and attribute(host, "group", 1) != 1:
            continue
        axis = 0
        if host.op_type == "ConvTranspose" or (
            host.op_type == "Gemm" and not attribute(host, "transB", 0)
        ):
            axis = 1
        gamma, beta, mean, var = (p.astype(np.float64) for p in parameters)
        epsilon = float(attribute(bn, "epsilon", 1e-5))
        has_bias = len(host.input) > 2 and host.input[2]
        bias = known.get(host.input[2]) if has_bias else np.zeros(len(gamma), weight.dtype)
        if bias is None or bias.shape != gamma.shape or not (var + epsilon > 0.0).all():
            continue
        scale = gamma / np.sqrt(var + epsilon)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        number = len(folds)
        new_weight = (weight.astype(np.float64) * scale.reshape(shape)).astype(weight.dtype)
        new_bias = (scale * (bias.astype(np.float64) - mean) + beta).astype(weight.dtype)
        names = f"folded_w_{number}", f"folded_b_{number}"
        for name, array in zip(names, (new_weight, new_bias), strict=True):
            graph.initializer.append(numpy_helper.from_array(array, name))
        inputs = [host.input[0], *names]
        del host.input[:]
        host.input.extend(inputs)
        host.output[0] = bn.output[0]
        graph.node.remove(bn)
        folds.append(Fold(*names, axis, scale, epsilon, var))
    used = {name for node in graph.node for name in node.input} | outputs
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    for value in [value for value in graph.input if value.name in known]:
        graph.input.remove(value)
    model.ir_version = max(model.ir_version, 4)
    return folds


def edit(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            array = change(numpy_helper.to_array(tensor).copy())
            tensor.CopyFrom(numpy_helper.from_array(array, name))


def on_channel(axis: int, channel: int, factor: np.ndarray | float) -> Callable:
    def change(array: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(array, axis, 0)
        rows[channel] = (rows[channel].astype(np.float64) * factor).astype(array.dtype)
        return array

    return change


def swapped(axis: int, a: int, b: int) -> Callable:
    def change(array: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(array, axis, 0)
        rows[[a, b]] = rows[[b, a]]
        return array

    return change


def plants(
    folded: onnx.ModelProto, folds: list[Fold], rng: random.Random
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """(kind, mutant), one of each kind, each at a fold of its own."""

    def mutant() -> tuple[onnx.ModelProto, Fold, int]:
        copy = onnx.ModelProto()
        copy.CopyFrom(folded)
        chosen = rng.choice(folds)
        return copy, chosen, rng.randrange(len(chosen.scale))

    model, one, channel = mutant()
    edit(model, one.weight, on_channel(one.axis, channel, 1.01))
    edit(model, one.bias, on_channel(0, channel, 1.01))
    yield "scale of a channel 1 % off", model

    model, one, channel = mutant()
    bias = constants(model)[one.bias].astype(np.float64)
    shift = 0.01 * (np.abs(bias).max() or 1.0)

    def shifted(array: np.ndarray) -> np.ndarray:
        array[channel] = array[channel].astype(np.float64) + shift
        return array

    edit(model, one.bias, shifted)
    yield "shift of a channel 1 % of the largest off", model

    model, one, channel = mutant()
    if len(one.scale) > 1:
        other = (channel + 1) % len(one.scale)
        edit(model, one.weight, swapped(one.axis, channel, other))
        edit(model, one.bias, swapped(0, channel, other))
        yield "two channels swapped", model

    model, one, channel = mutant()
    edit(model, one.bias, on_channel(0, slice(None), 0.0))
    yield "bias of a layer lost", model

    model, one, channel = mutant()
    for index, factor in enumerate(1.0 / one.scale if (one.scale != 0).all() else one.scale):
        edit(model, one.weight, on_channel(one.axis, index, factor))
    yield "scale of a layer skipped", model

    model, one, channel = mutant()
    ratio = np.sqrt((one.variance + one.epsilon) / (one.variance + 1e-3 + one.epsilon))
    for index, factor in enumerate(ratio):
        edit(model, one.weight, on_channel(one.axis, index, factor))
    yield "epsilon of a layer 1e-3 too large", model


def observable(worker: Worker, original: Path, mutant: Path) -> bool:
    """Whether the float64 functions differ by more than `OBSERVABLE` of a channel's size."""
    inputs = read_interface(original).inputs
    feed = generate(inputs, sizes=next(iter(ladder(inputs)), Sizes()))
    try:
        a, b = (
            worker.call("bnopt.judge.reference:evaluate", str(path), [feed]).outputs[0]
            for path in (original, mutant)
        )
    except BnoptError:
        return False
    for name, value in a.items():
        if not is_float(value):
            continue
        error = difference(b[name], value)
        for axis in views(value.ndim):
            if (per_channel(error, axis) > OBSERVABLE * per_channel(magnitude(value), axis)).any():
                return True
    return False


def models(paths: list[str], limit: int, pattern: str) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(path.rglob(pattern)) if path.is_dir() else [path]
    return found if limit <= 0 else found[:limit]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--models", type=int, default=0, help="at most this many models")
    parser.add_argument("--no-plants", action="store_true", help="right folds only")
    parser.add_argument("--match", default="*.onnx", help="file name pattern within a folder")
    parser.add_argument("--no-truth", action="store_true", help="judge without the reference")
    options = parser.parse_args()
    if options.no_truth:
        bench.REFERENCE_WEIGHT_BYTES = -1
    rejected, right, caught, planted = [], 0, Counter(), Counter()
    fixed_rejected, fixed_caught, headroom = 0, 0, []
    with tempfile.TemporaryDirectory() as folder, Worker() as worker:
        target = Path(folder) / "candidate.onnx"
        for path in models(options.paths, options.models, options.match):
            model = onnx.load(path)
            folds = fold(model)
            if not folds:
                continue
            onnx.save(model, target)
            verdict = compare_models(path, target)
            if verdict.equivalent is None:
                continue
            right += 1
            ratio = max(
                (o.max_abs / o.tolerance for o in verdict.outputs if o.tolerance), default=0
            )
            headroom.append(ratio)
            if not verdict.equivalent:
                rejected.append(path.name)
            fixed_rejected += compare_models(path, target, rtol=1e-3, atol=1e-4).equivalent is False
            print(f"{path.name[:50]:50} folds {len(folds):3}, at {ratio:.3f} of its tolerance")
            if not verdict.equivalent:
                print("   REJECTED", *(o.message for o in verdict.outputs), *verdict.notes)
            if options.no_plants:
                continue
            rng = random.Random(zlib.crc32(path.name.encode()))
            for kind, mutant in plants(model, folds, rng):
                onnx.save(mutant, target)
                if not observable(worker, path, target):
                    continue
                planted[kind] += 1
                hit = compare_models(path, target).equivalent is False
                caught[kind] += hit
                hit_fixed = compare_models(path, target, rtol=1e-3, atol=1e-4).equivalent is False
                fixed_caught += hit_fixed
                if not hit:
                    print(
                        f"   missed: {kind}"
                        + (" (the fixed tolerance caught it)" if hit_fixed else "")
                    )
            sys.stdout.flush()
    total = sum(planted.values())
    for kind, count in planted.items():
        print(f"{kind:45} caught {caught[kind]:3} of {count}")
    print(f"right folds {right}, rejected {len(rejected)}: {', '.join(rejected) or 'none'}")
    if headroom:
        print(f"right folds used at most {max(headroom):.2f} of their tolerance")
    if total:
        print(f"planted and observable {total}, caught {sum(caught.values())}")
        print(f"fixed rtol 1e-3, atol 1e-4: rejected {fixed_rejected}, caught {fixed_caught}")
    return 1 if rejected else 0


if __name__ == "__main__":
    sys.exit(main())
