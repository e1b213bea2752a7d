"""tools/calibration_speed.py on a small model, and what it makes of weights without numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import calibration_speed
import numpy as np
import onnx_ir as ir
from graphs import model, normal, run, statistics

TOOL = Path(__file__).resolve().parents[2] / "tools" / "calibration_speed.py"


def test_the_digits_are_measured_in_four_ways() -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "--batch", "16", "--rounds", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    header, _, row = done.stdout.splitlines()
    assert (
        header.split()
        == "model batch plain/s sequential/s ratio check/s ratio precise/s ratio".split()
    )
    name, batch, *numbers = row.split()
    assert (name, batch) == ("digits_cnn", "16")
    assert all(float(number) > 0 for number in numbers)


def test_weights_get_numbers() -> None:
    proto = model(
        """g (float[N,3,8,8] x, float[4] g) => (float[N,4,6,6] y) {
        W = ConstantOfShape(s)  c = Conv(x, W)  v = ConstantOfShape(t)
        y = BatchNormalization(c, g, b, m, v) }""",
        s=np.array([4, 3, 3, 3]),
        t=np.array([4]),
        **{name: array for name, array in statistics(4).items() if name != "v"},
    )
    graph = ir.from_proto(proto)
    calibration_speed.with_random_weights(graph)
    after = ir.to_proto(graph)
    assert [value.name for value in after.graph.input] == ["x"]
    assert "ConstantOfShape" not in {node.op_type for node in after.graph.node}
    (found,) = run(after, x=normal(2, 3, 8, 8))
    assert found.std() > 0
    assert (graph.graph.initializers["v"].const_value.numpy() > 0).all()


def test_a_model_without_batch_norms_is_run_plainly() -> None:
    graph = ir.from_proto(model("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"))
    assert set(calibration_speed.variants(graph)) == {"plain"}
