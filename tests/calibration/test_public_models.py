"""Moments of every batch norm's input in public models against those of the full tensors."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
from measuring import assert_moments, showing

from bnopt import io
from bnopt.algebra.base import Context
from bnopt.calibration.gather import gather
from bnopt.calibration.taps import Tap


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("rapidocr-3.10.0__ch_ppocr_mobile_v2.0_cls_mobile.onnx", 48),
        ("openwakeword-0.4.0__embedding_model.onnx", 76),
        ("brainmaze_eeg_models-0.1.0__spindle-detector-eeg.onnx", 64),
    ],
)
def test_public_models(shared_dir: Path, name: str, size: int) -> None:
    from bnopt.rules.view import View
    from bnopt.runtime.feeds import Sizes, generate
    from bnopt.runtime.interface import read_interface

    path = shared_dir / "corpus" / "models" / name
    proto = onnx.load(path)
    graph = io.load(path).model
    view = View.of(graph, Context.of(graph))
    taps = [
        Tap(norm.site, norm.input, norm.axis)
        for norm in view.norms
        if norm.input is not None and norm.axis is not None
    ]
    assert taps
    feed = generate(read_interface(path).inputs, batch=2, sizes=Sizes(size, 3))
    found = gather(graph, taps, [feed])
    assert set(found.moments) == {tap.site for tap in taps}
    names = [tap.value.name or "" for tap in taps]
    # With onnxruntime's optimizations, as the measured run: they round differently layer by layer.
    shown = onnxruntime.InferenceSession(
        showing(proto, *names).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for one, values in zip(taps, shown.run(None, feed), strict=True):
        assert_moments(found.moments[one.site], values, one.axis)
