"""Integer networks in floating point, run on whole numbers before and after each optimizer.

    .peers-venv/bin/python tools/whole_numbers.py MODEL... [--runs 300] [--peers bnopt onnxsim]

Such a network (docs/decisions/0011) computes on whole numbers and rounds them with a Floor or a
Cast to an integer type. Normally distributed inputs hardly show that a fold has changed it; images
of whole numbers from 0 to 255, which it is made for, do. Prints, for each model, in how many runs
an output differs by more than 1e-5 of its largest value, and the largest difference. Runs on
onnxruntime with its optimizations off. `tools/peers.py` sets up `.peers-venv`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import _optimizers
import _tables
import numpy as np

DIFFERENT = 1e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", help="models with one input of images")
    parser.add_argument("--runs", type=int, default=300, help="inputs for each model")
    parser.add_argument("--peers", nargs="+", default=["bnopt", "onnxsim"], help="optimizers")
    arguments = parser.parse_args()
    rows = []
    for path in arguments.models:
        row = [path.stem.rpartition("__")[2]]
        for peer in arguments.peers:
            row.append(compare(path, peer, arguments.runs))
            print(f"{row[0]}: {peer} {row[-1]}", file=sys.stderr)
        rows.append(row)
    print(_tables.markdown(["model", *arguments.peers], rows))
    return 0


def compare(path: Path, peer: str, runs: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        try:
            _optimizers.PEERS[peer]()(str(path), str(target))
            sessions = [session(path), session(target)]
        except Exception as error:  # every optimizer has its own exceptions
            return f"failed: {type(error).__name__}"
        different, worst = 0, 0.0
        given = sessions[0].get_inputs()[0]
        shape = [n if isinstance(n, int) and n > 0 else 1 for n in given.shape]
        rng = np.random.default_rng(1)
        for _ in range(runs):
            x = rng.integers(0, 256, shape).astype(np.float32)
            before, after = (s.run(None, {given.name: x}) for s in sessions)
            error = max(
                float(np.abs(a - b).max() / max(np.abs(a).max(), 1))
                for a, b in zip(before, after, strict=True)
            )
            different += error > DIFFERENT
            worst = max(worst, error)
    return f"{different} of {runs}, up to {worst:.2g}" if different else f"0 of {runs}"


def session(path: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    sys.exit(main())
