"""The programs, family by family. Nothing here needs TensorFlow."""

from __future__ import annotations

from zoo.catalog_keras import KERAS
from zoo.catalog_slim import SLIM
from zoo.program import Family, Program

_GLOBAL = Family(1, "global_normalization:convolutional", "global")
_FN, _OP = {"raw": False}, {"raw": True}

GLOBAL = (
    _GLOBAL.right("fn", "the function", **_FN, scale_after=True),
    _GLOBAL.right(
        "fn-noscale", "the function, no scale after", **_FN, scale_after=False, form="saved-model"
    ),
    _GLOBAL.right("op", "the operator", **_OP, scale_after=True, form="frozen-graph"),
    _GLOBAL.right("op-noscale", "the operator, no scale after", **_OP, scale_after=False),
    _GLOBAL.wrong(
        "fn-never",
        "moments never averaged",
        "never-updated",
        **_FN,
        scale_after=True,
        statistics="never-averaged",
    ),
    _GLOBAL.wrong(
        "op-never",
        "the operator, moments never averaged",
        "never-updated",
        **_OP,
        scale_after=True,
        statistics="never-averaged",
        form="frozen-graph",
    ),
    _GLOBAL.wrong(
        "fn-batch",
        "moments of the batch exported",
        "batch-statistics",
        **_FN,
        scale_after=True,
        statistics="batch",
    ),
    _GLOBAL.wrong(
        "op-batch",
        "the operator, moments of the batch exported",
        "batch-statistics",
        **_OP,
        scale_after=True,
        statistics="batch",
    ),
)

_EMA = Family(2, "ema_assigner:convolutional", "assigner")

ASSIGNER = (
    _EMA.right("run", "assigner run with every step"),
    _EMA.right("noscale", "no scale after normalization", scale_after=False, form="frozen-graph"),
    _EMA.wrong("never", "assigner never run", "never-updated", assigned=False),
    _EMA.wrong("training", "`normalize(train=True)` exported", "batch-statistics", training=True),
)

_COND = Family(4, "cond_towers:convolutional", "cond")
_SCOPES = ("never-updated", "wrong-scope")

COND = (
    _COND.right("fused", "towers inside the branches"),
    _COND.right("plain", "the same, not fused", fused=False),
    _COND.right("v2", "the same, control flow v2", control_flow_v2=True, form="saved-model"),
    _COND.right("v2-plain", "control flow v2, not fused", control_flow_v2=True, fused=False),
    _COND.right("default", "`is_training` with default False", default=False),
    _COND.wrong("no-scope", "no scope to share", *_SCOPES, written="no-scope"),
    _COND.wrong(
        "no-scope-v2",
        "no scope to share, control flow v2",
        *_SCOPES,
        written="no-scope",
        control_flow_v2=True,
    ),
    _COND.wrong(
        "outside",
        "towers outside: inference updates",
        "updates-at-inference",
        repair="export",
        written="outside",
        fused=False,
    ),
    _COND.wrong(
        "default-true",
        "`is_training` with default True",
        "training-switch",
        repair="set-inputs",
        default=True,
    ),
)

_MOMENTS = Family(5, "moments_assign:convolutional", "moments")

MOMENTS = (
    _MOMENTS.right("control", "with control dependencies"),
    _MOMENTS.right("debias", "with zero debiasing, its default", zero_debias=True),
    _MOMENTS.right("frozen", "frozen", form="frozen-graph"),
    _MOMENTS.wrong(
        "no-control",
        "no control dependencies",
        "never-updated",
        mistake="no-control-dependencies",
    ),
    _MOMENTS.wrong(
        "once", "averages assigned once", "barely-updated", mistake="run-once", decay=0.999
    ),
    _MOMENTS.wrong(
        "own-variables", "`tf.Variable` ignores `reuse`", *_SCOPES, mistake="own-variables"
    ),
    _MOMENTS.wrong(
        "biased",
        "the biased averages exported",
        "zero-debias",
        mistake="biased",
        zero_debias=True,
        decay=0.999,
    ),
)

_SIMPLE = Family(6, "simple_layer:convolutional", "simple")

SIMPLE = (
    _SIMPLE.right("layer", "equal to contrib's at every step"),
    _SIMPLE.wrong("never", "its update ops never run", "never-updated", updates=False),
)

_MLP = Family(7, "mlp:perceptron", "mlp")

MLP = (
    _MLP.right("slim", "fc with bias, bn, ReLU"),
    _MLP.right("nobias", "fc without bias", bias=False, form="frozen-graph"),
    _MLP.right("normalizer", "bn as `normalizer_fn`", written="normalizer"),
    _MLP.right("plain", "not fused", fused=False, form="saved-model"),
    _MLP.right("layers", "of tf.layers", written="layers"),
    _MLP.wrong("never", "update ops never run", "never-updated", updates=False),
    _MLP.wrong("training", "`is_training=True` exported", "batch-statistics", training=True),
    _MLP.wrong(
        "plain-training",
        "the same, not fused",
        "batch-statistics",
        training=True,
        fused=False,
    ),
)

_FCN = Family(8, "fully_convolutional:two_layers", "fcn512")

FCN = (
    _FCN.right("moving", "moving averages by `tf.assign`"),
    _FCN.right("saved-model", "the same as SavedModel", form="saved-model"),
    _FCN.wrong("never", "the assignments never run", "never-updated", updates=False),
    _FCN.wrong("training", "moments of the batch exported", "batch-statistics", training=True),
)

PROGRAMS: tuple[Program, ...] = (
    *GLOBAL,
    *ASSIGNER,
    *SLIM,
    *COND,
    *MOMENTS,
    *SIMPLE,
    *MLP,
    *FCN,
    *KERAS,
)
