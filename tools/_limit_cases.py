"""Batch norms for which no exact fold exists, case by case: the second half of docs/limits.md.

The names are those of small exports of TensorFlow and PyTorch; tests/test_forms.py checks that
bnopt keeps no batch norm in them but for a reason given here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Exports that keep a batch norm, and why.

    Attributes:
        reasons: The reasons given, the first one being the telling one.
        names: The exports.
        title: What they have in common.
        why: Why there is no exact fold.
    """

    reasons: tuple[str, ...]
    names: tuple[str, ...]
    title: str
    why: str


CASES = (
    Case(
        ("graph-input",),
        ("bn1d_only_nc",),
        "The batch norm is the model",
        "There is nothing before or behind it. `--lower` can write it in another way.",
    ),
    Case(
        ("graph-input",),
        ("repvgg",),
        "An identity branch with a batch norm, beside convolutions (RepVGG)",
        "The sum behind it would have to be divided by the scale, and no weight stands before it. "
        "What RepVGG's own tool does is another operation: it adds the scale to the middle of the "
        "kernel of the convolution beside it, which merges parallel branches into one.",
    ),
    Case(
        ("dynamic-statistics",),
        ("bn_input_dependent_affine",),
        "Scale and bias are computed from another input",
        "There are no numbers to fold.",
    ),
    Case(
        ("dynamic-statistics",),
        ("slim_*_nonfused*", "slim_*_renorm"),
        "An `If` chooses between moving and batch statistics",
        "Until `--set-input is_training=false` decides it, the statistics depend on the batch.",
    ),
    Case(
        ("batch-statistics",),
        (
            "bn_no_track*",
            "fbn_v1_train_factor1",
            "fcn512_train_export",
            "k3_train_call_*",
            "slim_*train_export*",
            "slim_phconst_true_fused",
            "slim_ph_fused*",
            "slim_ph_zero_debias",
            "slim_pwd_*",
            "stefano_*",
            "v1layers_*",
            "v2_*",
            "v3_train_export",
        ),
        "Batch statistics",
        "Mean and variance are computed from the batch, so the same input gives another output in "
        "another batch. No constant affine does that.",
    ),
    Case(
        ("other-scope", "shared-output"),
        (
            "script_if",
            "slim_ph_*",
            "slim_pwd_*",
            "stefano_*placeholder*",
            "stefano_*pwd*",
            "v1layers_ph",
            "v1layers_pwd",
            "v2_placeholder*",
            "v2_pwd",
        ),
        "Two batch norms on one convolution, one for training and one for inference",
        "The convolution stands in front of an `If`, or of both towers that an `If` chooses from, "
        "and each side needs other weights. `--set-input is_training=false` removes the training "
        "side; then these fold. Where the condition is computed from data, nothing does.",
    ),
    Case(
        ("shared-output", "graph-output"),
        (
            "conv_out_reused_bn",
            "conv_out_is_output_bn",
            "conv_two_bn",
            "k3_shared_conv_two_bn",
            "nn_bn_shared_conv",
        ),
        "Somebody else reads the value before the batch norm, and a Relu follows it",
        "Scaled weights would change what the other reader sees. Ahead, the shift does not pass "
        "the Relu, and with scales of both signs the scale does not either. The convolution would "
        "have to run twice.",
    ),
    Case(
        ("residual", "shared-output"),
        ("mlp_mixer_bn",),
        "Batch norms on a residual stream",
        "The stream is read by the next block and by the next sum. Ahead, the features are summed "
        "along another axis than the one the batch norm works on.",
    ),
    Case(
        ("not-linear",),
        ("tdnn_xvector",),
        "A Relu before, mean and standard deviation behind (x-vector)",
        "The scale would have to pass a square and a root, and come out as its magnitude.",
    ),
    Case(
        ("not-linear",),
        ("conv_dropout_bn",),
        "A Dropout in training mode before",
        "It multiplies by random numbers; the shift does not pass.",
    ),
    Case(
        ("channel-axis",),
        ("conv_flatten_bn1d",),
        "One statistic for each position behind a convolution",
        "A kernel is the same at all positions, so its weights cannot differ between them.",
    ),
    Case(
        ("channel-axis",),
        (
            "linear_nobias_bn_ncl_square",
            "linear_nobias_swap01_bn_square",
            "matmul_right_bn_square",
        ),
        "The batch norm works on the rows of a product, the weights own its columns",
        "`(x W)[n, l, k]` with a scale for each l cannot be had from W, which knows no l.",
    ),
    Case(
        ("bias-shape",),
        ("tfk_conv1dtranspose",),
        "TensorFlow's Conv1DTranspose pads by amounts that it computes when it runs",
        "Where it pads, it writes zeros, which a shift must not touch; nobody can tell where.",
    ),
    Case(
        ("quantized-weight",),
        ("residual_add_bn",),
        "A quantized activation before a batch norm with negative scales",
        "Its quantization scale would become negative, which runtimes do not promise to take.",
    ),
    Case(
        ("unknown-operator",),
        ("residual_add_bn", "tfk_conv2d_groups"),
        "Operators that are not ONNX's own",
        "QLinearAdd of com.microsoft, and a PartitionedCall that tf2onnx left in the graph. What "
        "they do is not specified, so nothing is assumed.",
    ),
    Case(
        ("extra-outputs",),
        ("fbn_v3_infer_useout",),
        "Somebody reads the statistics that the batch norm puts out",
        "It cannot go, and what these outputs hold in inference mode is not defined.",
    ),
)
