"""The inference graph has variables of its own, which training never touched.

What it does: reports batch norms that were never updated and whose variables carry a number
that TensorFlow 1 appends when a name is taken (`BatchNorm_2`, `bn1_1`), while the layers that the
names were first given to are not in the model: the trained variables have stayed behind. Where an
optimizer has folded the variables away, nothing is left of their names, and nothing is reported.

Why it is bad: the inference graph normalises with fresh variables, mean 0 and variance 1, while the
trained statistics lie unused in the checkpoint.

How it happens: TensorFlow 1, slim and contrib: the network was built twice, once for training and
once for inference, without `scope=` and `reuse=True`, or with tf.Variable, which ignores reuse.
Keras: the model was built a second time and its weights were not set. PyTorch: a second module was
constructed and its state_dict not loaded.

Severity: as that of `never-updated`, which is found with it: an error if more than half of the
batch norms are so.

Example:
    train = batch_norm(x, is_training=True)                # BatchNorm
    infer = batch_norm(x, is_training=False)               # BatchNorm_1: other variables
    infer = batch_norm(x, is_training=False, scope="bn", reuse=True)    # with scope="bn" above, too

How to fix: build both towers in one scope with reuse=True, and export the one that shares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules import never_updated
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "wrong-scope"
SEVERITY: Severity = "error"
SUMMARY = "have variables of their own that were never trained"
CAUSES = {
    "tensorflow": "the inference tower was built without the trained one's scope and reuse=True"
}
FIX = "build both towers in one variable scope with reuse=True, and export again"

_NUMBERED = re.compile(r"^(.*?)_(\d+)$")


def check(view: View) -> Iterator[Finding]:
    """A finding for each untrained batch norm that is the second of its name."""
    if view.framework != "tensorflow":
        return
    layers = {norm.site: layer for norm in view.norms if (layer := _layer(norm))}
    present = set(layers.values())
    for finding in never_updated.check(view):
        layer = layers.get(finding.site or "", "")
        match = _NUMBERED.match(layer)
        # Layers are numbered within a graph too: that the others are missing is what tells.
        if match is None or match[1] in present:
            continue
        message = f"'{layer}' is a second layer of the name '{match[1]}', which is not in the model"
        yield Finding(CODE, finding.severity, finding.site, message, FIX, {"layer": layer})


def _layer(norm: Norm) -> str:
    """`tower/bn1_1` of `tower/bn1_1/moving_mean/read:0`, as TensorFlow 1 names a variable."""
    layer, found, _ = norm.names.get("mean", "").partition("/moving_mean/read")
    return layer if found else ""
