"""Group 3: contrib and slim `batch_norm` over its parameters."""

from __future__ import annotations

from zoo.program import Family

_TOWERS = Family(3, "slim_params:two_towers", "slim")
_SWITCH = Family(3, "slim_switches:switch", "slim")
_BARE = Family(3, "slim_switches:bare_calls", "slim")
_NCHW = Family(3, "slim_switches:channels_first", "slim")
_PLAIN = {"fused": False}

SLIM = (
    _TOWERS.right("defaults", "decay 0.9; else as it comes"),
    _TOWERS.right("decay-0.99", "decay 0.99, 1000 steps", bn={"decay": 0.99}, steps=1000),
    _TOWERS.right("scale", "`scale=True`", bn={"scale": True}, form="frozen-graph"),
    _TOWERS.right("scale-nocenter", "scale, no center", bn={"scale": True, "center": False}),
    _TOWERS.right("nocenter", "neither scale nor center", bn={"center": False}),
    _TOWERS.right("epsilon", "epsilon 1e-5", bn={"epsilon": 1e-5}),
    _TOWERS.right("plain", "`fused=False`", bn=_PLAIN, form="saved-model"),
    _TOWERS.right("in-place", "`updates_collections=None`", updates="in-place"),
    _TOWERS.right("in-place-plain", "the same, not fused", bn=_PLAIN, updates="in-place"),
    _TOWERS.right("own-collection", "updates in a collection of their own", updates="own"),
    _TOWERS.right("debias", "`zero_debias_moving_mean=True`", bn={"zero_debias_moving_mean": True}),
    _TOWERS.right("renorm", "`renorm=True`", bn={"renorm": True, "renorm_decay": 0.9}),
    _TOWERS.right("batch-weights", "`batch_weights` in training", extra="weights"),
    _TOWERS.right("adjustment", "`adjustment` in training", extra="adjustment"),
    _TOWERS.wrong("never", "UPDATE_OPS never run", "never-updated", updates="forgotten"),
    _TOWERS.wrong(
        "never-scale",
        "UPDATE_OPS never run, with gamma",
        "never-updated",
        updates="forgotten",
        bn={"scale": True},
        form="frozen-graph",
    ),
    _TOWERS.wrong(
        "never-plain",
        "UPDATE_OPS never run, not fused",
        "never-updated",
        updates="forgotten",
        bn=_PLAIN,
    ),
    _TOWERS.wrong(
        "never-debias",
        "updates of zero debiasing never run",
        "never-updated",
        updates="forgotten",
        bn={"zero_debias_moving_mean": True},
    ),
    _TOWERS.wrong(
        "slow-decay",
        "decay 0.999, its default, for 60 steps",
        "barely-updated",
        "stale-statistics",
        bn={"decay": 0.999},
        steps=60,
    ),
    _TOWERS.wrong(
        "training", "`is_training=True` exported", "batch-statistics", exported="training"
    ),
    _TOWERS.wrong(
        "training-plain",
        "the same, not fused",
        "batch-statistics",
        exported="training",
        bn=_PLAIN,
    ),
    _TOWERS.wrong(
        "training-in-place",
        "the same, updates in place",
        "batch-statistics",
        "updates-at-inference",
        exported="training",
        updates="in-place",
    ),
    _TOWERS.wrong(
        "training-renorm",
        "the same, with renorm",
        "batch-statistics",
        repair="none",
        exported="training",
        bn={"renorm": True, "renorm_decay": 0.9},
    ),
    _TOWERS.wrong(
        "training-batch-weights",
        "the same, with batch_weights",
        "batch-statistics",
        repair="none",
        exported="training",
        extra="weights",
    ),
    _TOWERS.wrong(
        "training-adjustment",
        "the same, with adjustment",
        "batch-statistics",
        exported="training",
        repair="none",
        random=True,
        extra="adjustment",
    ),
    _SWITCH.right("switch", "`is_training` a placeholder"),
    _SWITCH.right("switch-plain", "the same, not fused", bn=_PLAIN),
    _SWITCH.right("switch-in-place", "updates in place", bn={"updates_collections": None}),
    _SWITCH.right("switch-renorm", "with renorm", bn={"renorm": True, "renorm_decay": 0.9}),
    _SWITCH.right("switch-debias", "with zero debiasing", bn={"zero_debias_moving_mean": True}),
    _SWITCH.right("switch-default", "with default False", default=False, form="saved-model"),
    _SWITCH.right("switch-false", "constant False in the export", constant=False),
    _SWITCH.wrong("switch-true", "constant True in the export", "batch-statistics", constant=True),
    _SWITCH.wrong(
        "switch-default-true",
        "with default True",
        "training-switch",
        repair="set-inputs",
        default=True,
    ),
    _BARE.right("reuse", "scope and reuse", second="named"),
    _BARE.wrong("no-reuse", "neither", "never-updated", "wrong-scope", second="numbered"),
    _BARE.wrong("positional", "`batch_norm(x, is_training)`", "decay-is-flag", second="positional"),
    _NCHW.right("nchw", "NCHW, convolutions too", convolutions=True),
    _NCHW.right("nchw-between", "NCHW between layers of NHWC", convolutions=False),
    _NCHW.right("nchw-plain", "the same, not fused", convolutions=False, fused=False),
    _NCHW.wrong(
        "nchw-training",
        "NCHW, `is_training=True` exported",
        "batch-statistics",
        convolutions=False,
        fused=False,
        exported="training",
    ),
)
