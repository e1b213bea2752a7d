"""What taking moments costs: samples per second against plain inference on the same feeds.

    python tools/calibration_speed.py [MODEL ...] [--batch 8] [--size 224] [--threads 1]

Without MODEL, `models/digits_cnn.onnx`. Each model is run in four ways, by turns, in one process,
in onnxruntime at its default optimizations:

- plain: the model itself;
- sequential: one pass at the last depth, which runs nearly all of the model;
- check: all batch norms measured as they stand, as `bnopt check --data` does;
- precise: all batch norms normalise by their batch and are measured, in one pass.

A ratio is the median over rounds of (seconds of plain / seconds of this) in the same round, so that
a busy machine slows both. Only BatchNormalization nodes are counted. Weights that the model makes
by ConstantOfShape are replaced by random ones (He et al. 2015), because numbers that vanish or
overflow on the way through take another time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _tables
import numpy as np
import onnx_ir as ir

DIGITS = Path(__file__).resolve().parent.parent / "models" / "digits_cnn.onnx"


def variants(model: ir.Model) -> dict[str, ir.Model]:
    """The four models; `model` is edited."""
    from bnopt.algebra.base import Context
    from bnopt.calibration.batch_mode import batch_mode
    from bnopt.calibration.depth import depths
    from bnopt.calibration.ordinary import make_ordinary
    from bnopt.calibration.taps import Tap, tapped

    plain = model.clone()
    slots, _ = make_ordinary(model, Context.of(model))
    if not slots:
        return {"plain": plain}
    behind = depths(model.graph, slots)
    last = [slot for slot, depth in zip(slots, behind, strict=True) if depth == max(behind)]
    context = Context.of(model)

    def taps(some: Sequence[Any]) -> ir.Model:
        return tapped(context, [Tap(slot.site, slot.input, 1) for slot in some]).model

    return {
        "plain": plain,
        "sequential": taps(last),
        "check": taps(slots),
        "precise": batch_mode(model, slots).model,
    }


def with_random_weights(model: ir.Model) -> None:
    """Replace what ConstantOfShape makes of constants; then inputs with a default are none."""
    rng = np.random.default_rng(0)
    graph = model.graph
    if not any(node.op_type == "ConstantOfShape" for node in graph):
        return
    defaults = {id(value) for value in graph.initializers.values()}
    for value in [value for value in graph.inputs if id(value) in defaults]:
        graph.inputs.remove(value)
    # A model of IR version 3 lists its initializers as inputs.
    model.ir_version = max(model.ir_version, 4)
    for node in list(graph):
        shape = node.inputs[0].const_value if node.op_type == "ConstantOfShape" else None
        if shape is None:
            continue
        old = node.outputs[0]
        dims = [int(dim) for dim in shape.numpy()]
        kind = {index for user, index in old.uses() if user.op_type == "BatchNormalization"}
        if len(dims) > 1:
            numbers = rng.normal(0, np.sqrt(2 / np.prod(dims[1:])), dims)
        elif kind & {1, 4}:
            numbers = rng.uniform(0.5, 1.5, dims)
        else:
            numbers = rng.normal(0, 0.1, dims)
        name, old.name = old.name, f"{old.name}_replaced"
        weight = ir.Value(name=name, const_value=ir.tensor(numbers.astype(np.float32)))
        weight.shape, weight.type = ir.Shape(dims), ir.TensorType(ir.DataType.FLOAT)
        graph.register_initializer(weight)
        old.replace_all_uses_with(weight)
        graph.remove(node, safe=True)


def measure(
    models: dict[str, ir.Model], batch: int, size: int, threads: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each round, for each model; the first round does not count."""
    import tempfile

    import onnxruntime

    from bnopt.io import stage
    from bnopt.runtime.feeds import Sizes, generate
    from bnopt.runtime.interface import read_interface

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    sessions: dict[str, Any] = {}
    feed: dict[str, Any] = {}
    for name, model in models.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            stage(model, Path(folder) / "model.onnx") as staged,
        ):
            inputs = read_interface(staged.path).inputs
            feed = feed or generate(inputs, batch=batch, sizes=Sizes(size, 3))
            sessions[name] = onnxruntime.InferenceSession(
                staged.path, options, providers=["CPUExecutionProvider"]
            )
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + 1):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, feed)
            if number:
                seconds[name].append(time.perf_counter() - start)
    seconds["samples"] = [float(max(len(array) for array in feed.values() if array.ndim))]
    return seconds


def row(path: Path, options: argparse.Namespace) -> list[str]:
    """A row of the table."""
    from bnopt import io

    model = io.load(path).model
    with_random_weights(model)
    models = variants(model)
    seconds = measure(models, options.batch, options.size, options.threads, options.rounds)
    (samples,) = seconds.pop("samples")
    plain = np.array(seconds["plain"])
    cells = [_tables.shorten(path.stem, 40), f"{samples:.0f}"]
    cells.append(f"{samples / np.median(plain):.1f}")
    for name in ("sequential", "check", "precise"):
        if name not in seconds:
            cells += ["-", "-"]
            continue
        cells.append(f"{samples / np.median(seconds[name]):.1f}")
        cells.append(f"{np.median(plain / np.array(seconds[name])):.2f}")
    return cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, default=[DIGITS], metavar="MODEL")
    parser.add_argument("--batch", type=int, default=8, help="samples a feed, where left open")
    parser.add_argument("--size", type=int, default=224, help="height and width, where left open")
    parser.add_argument("--threads", type=int, default=1, help="within an operator")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    header = ["model", "batch", "plain/s"]
    for name in ("sequential", "check", "precise"):
        header += [f"{name}/s", "ratio"]
    print(_tables.text(header, [row(path, options) for path in options.models]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
