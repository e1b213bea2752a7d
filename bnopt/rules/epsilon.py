"""The epsilon of a batch norm is unusual.

What it does: says which values epsilon has if it differs between the layers of a model; says so if
every layer has the other framework's default (1e-5 in a model made by TensorFlow or Keras, 1e-3 in
one made by PyTorch); and reports every batch norm whose epsilon is 0, negative or above 0.1.

Why it is bad: epsilon is part of what was trained. Where variances are small, 1e-3 for 1e-5 changes
the scale of a channel by up to ten times. With 0 a constant channel divides by zero; with 0.1 or
more the normalisation hardly takes place.

How it happens: TensorFlow 1's slim and contrib, and Keras, have 1e-3, PyTorch, Caffe and ONNX have
1e-5; who ports weights from one to the other and not epsilon gets a model that is slightly wrong
everywhere. tf.nn.batch_normalization has no default, so every project has its own. A converter that
drops the attribute leaves ONNX's default in some layers.

Differences are an info: ports such as EfficientNet and MobileNet keep the value they were trained
with, and mix it with new layers on purpose. Zero, negative and above 0.1 is a warning; some early
networks were trained so.

Example: 52 batch norms with epsilon 1e-3 and one with 1e-5.

How to fix: compare with the training code; set eps (PyTorch) or epsilon (Keras, TensorFlow) to what
the weights were trained with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite

from bnopt.findings import Finding, Severity
from bnopt.graph.uses import describe
from bnopt.rules.view import View

CODE = "epsilon"
SEVERITY: Severity = "warning"
SUMMARY = "have an epsilon that is not positive or above 0.1"
CAUSES = {"": "weights were ported without it, or a converter dropped it"}

_LARGEST = 0.1
_DEFAULTS = {"tensorflow": 1e-3, "pytorch": 1e-5}
_MADE_BY = {"tensorflow": "PyTorch", "pytorch": "TensorFlow and Keras"}
_MAX_VALUES = 8


def check(view: View) -> Iterator[Finding]:
    """One finding for the values of a whole model, and one for each batch norm out of range."""
    fix = "compare with the training code; set epsilon to what the weights were trained with"
    # Attributes are float32: 1e-3 is 0.0010000000474974513.
    known = [
        (norm, float(f"{norm.epsilon:.3g}"))
        for norm in view.norms
        if norm.epsilon is not None and isfinite(norm.epsilon)
    ]
    for norm, epsilon in known:
        if epsilon <= 0 or epsilon > _LARGEST:
            message = f"epsilon of {describe(norm.node)} is {epsilon:.3g}"
            yield Finding(CODE, "warning", norm.site, message, fix, {"epsilon": epsilon})
    values = Counter(epsilon for _, epsilon in known)
    if message := _differences(values) or _other_default(values, view.framework):
        counts = {f"{value:.3g}": count for value, count in values.most_common(_MAX_VALUES)}
        yield Finding(CODE, "info", None, message, fix, {"layers": counts})


def _differences(values: Counter[float]) -> str:
    if len(values) < 2:
        return ""
    listed = [f"{value:.3g} in {count}" for value, count in values.most_common(_MAX_VALUES)]
    return f"epsilon differs between batch norms: it is {', '.join(listed)}"


def _other_default(values: Counter[float], framework: str) -> str:
    mine = _DEFAULTS.get(framework)
    if mine is None or not values:
        return ""
    (value,) = values
    if value not in _DEFAULTS.values() or value == mine:
        return ""
    return f"epsilon is {value:.3g} throughout, the default of {_MADE_BY[framework]}"
