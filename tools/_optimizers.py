"""The optimizers that `tools/peers.py` compares, each at its default settings for this work.

Each entry of `PEERS` does its imports, which are not timed, and returns the function that is: from
the path of a model to the path of the result. What it returns is looked at for bnopt only.
"""

from __future__ import annotations

from collections.abc import Callable

PINNED = ("onnxoptimizer==0.4.2", "onnxsim==0.8.1", "onnxslim==0.1.98", "onnxscript==0.7.2")

Optimize = Callable[[str, str], object]


def _bnopt(*, validate: bool) -> Optimize:
    import onnx_ir  # noqa: F401  (bnopt imports it on first use, which would be timed)

    import bnopt

    def optimize(source: str, target: str) -> object:
        return bnopt.fold(source, output=target, allow=("all",), validate=validate)

    return optimize


def _onnxoptimizer() -> Optimize:
    import onnx
    import onnxoptimizer

    return lambda source, target: onnx.save(onnxoptimizer.optimize(onnx.load(source)), target)


def _onnxsim() -> Optimize:
    import onnx
    import onnxsim

    return lambda source, target: onnx.save(onnxsim.simplify(source)[0], target)


def _onnxslim() -> Optimize:
    import onnx
    import onnxslim

    return lambda source, target: onnx.save(onnxslim.slim(source), target)


def _onnxscript() -> Optimize:
    import onnx
    import onnxscript.optimizer

    return lambda source, target: onnx.save(
        onnxscript.optimizer.optimize(onnx.load(source)), target
    )


def _onnxruntime() -> Optimize:
    import onnxruntime as ort

    def optimize(source: str, target: str) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = target
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    return optimize


PEERS: dict[str, Callable[[], Optimize]] = {
    "bnopt": lambda: _bnopt(validate=False),
    "bnopt+proof": lambda: _bnopt(validate=True),
    "onnxoptimizer": _onnxoptimizer,
    "onnxsim": _onnxsim,
    "onnxslim": _onnxslim,
    "onnxscript": _onnxscript,
    "onnxruntime": _onnxruntime,
}
