"""Why a batch norm was kept: the stable slugs of a decision, each with its documentation.

`bnopt explain SLUG` prints an entry; `tools/make_docs.py` collects them in docs/limits.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One refusal reason.

    Attributes:
        code: The slug.
        title: One line.
        doc: What it means, why folding would not be exact, what to do about it.
    """

    code: str
    title: str
    doc: str


def _table(*rows: tuple[str, str, str]) -> dict[str, Reason]:
    return {code: Reason(code, title, " ".join(doc.split())) for code, title, doc in rows}


REASONS: dict[str, Reason] = _table(
    # The statistics and the node itself.
    (
        "training-mode",
        "the batch norm runs in training mode",
        """The node normalises with the statistics of the batch it is given (training_mode=1,
        more than one output before opset 14, is_test=0 before opset 7), so it is not a fixed
        affine and has no exact fold. The output for one sample depends on the others in its
        batch. Export the model in inference mode: model.eval() in PyTorch, training=False in
        Keras, is_training=False in TensorFlow 1; or let `bnopt calibrate` put it into inference
        mode, with statistics from data.""",
    ),
    (
        "batch-statistics",
        "mean or variance is computed from the data itself",
        """The node is written in inference mode, but its mean or variance is computed in the
        graph from the very tensor it normalises: batch statistics in disguise, as
        track_running_stats=False exports it. It is not a fixed affine, so there is nothing to
        fold. `bnopt calibrate` puts an ordinary batch norm in its place, with statistics from
        data, unless what is computed is not mean and population variance of one tensor (weighted
        moments, renorm).""",
    ),
    (
        "dynamic-statistics",
        "a parameter of the batch norm is not a constant",
        """Scale, bias, mean or variance is a graph input without a value, a formal parameter of
        a function, or the output of an operator that depends on the data. Folding needs the
        numbers.""",
    ),
    (
        "overridable",
        "a parameter or weight may be overridden by the caller",
        """An initializer that is also a graph input can be replaced at run time. With --keep-
        overridable bnopt must assume that it will be. Without the option such a value is folded
        and its input removed, and the report says so.""",
    ),
    (
        "non-finite",
        "a statistic, weight or bias is NaN or infinite",
        """Folding would spread the NaN or infinity into the weights and bury the evidence. The
        training diverged, or the statistics were never restored; repair the model first.""",
    ),
    (
        "negative-variance",
        "variance + epsilon is not positive",
        """The square root does not exist, or is zero. A negative variance is never the result
        of a sound training run; a zero variance with epsilon 0 divides by zero.""",
    ),
    (
        "overflow",
        "a folded weight or bias would not fit the data type",
        """scale * weight or scale * bias + shift, computed in float64, is larger than the
        largest finite number of the weight's data type (65504 for float16). The unfolded model
        may still be fine there.""",
    ),
    (
        "underflow",
        "the folded weights of a channel would be subnormal",
        """In at least one output channel the largest folded weight, computed exactly, is below
        the smallest normal number of the weight's data type (6.1e-5 for float16), so that
        rounding would lose most of its digits, or all of them.""",
    ),
    (
        "shape-mismatch",
        "parameter lengths do not fit each other or the host",
        """Scale, bias, mean and variance must all have length C, and the host must have C
        output channels; the operator specification allows nothing else. The model is invalid or
        relies on a broadcast that bnopt does not assume.""",
    ),
    (
        "extra-outputs",
        "the batch norm has outputs besides Y",
        """The running statistics are outputs too, which inference mode does not define. bnopt
        does not guess what a reader expects of them.""",
    ),
    (
        "unknown-attribute",
        "an attribute that the operator's version does not have",
        """The operator specification of this opset has no such attribute, or it refers to a
        function's parameter, so its effect is not known.""",
    ),
    (
        "unknown-opset",
        "an opset newer than this bnopt knows",
        """The installed onnx package does not know this operator-set version, or it holds a
        newer version of the operator than bnopt was written for. Update bnopt or onnx.""",
    ),
    (
        "data-type",
        "a data type in which folding is not defined",
        """Weights must be float16, bfloat16, float32 or double, and of one type with the bias.""",
    ),
    # Who reads the value between host and batch norm.
    (
        "shared-output",
        "the host's output has other readers",
        """Another node reads the value before the batch norm and must keep seeing it unscaled.""",
    ),
    (
        "graph-output",
        "the host's output is an output of the model",
        """The value before the batch norm is a graph output and must keep its meaning.""",
    ),
    (
        "captured",
        "a subgraph reads the host's output",
        """The body of an If, Loop or Scan reads the value before the batch norm from the outer
        scope and must keep seeing it unscaled.""",
    ),
    (
        "unread",
        "nothing reads the batch norm's output",
        """The node is dead code: its output is read by no node and is no output of the model.
        There is nothing to gain, so it is left as it is.""",
    ),
    # What stands in front of the batch norm.
    (
        "graph-input",
        "the batch norm reads a model input",
        """There is no operator before it that could take the affine, and none behind it that
        can: it is an output, or an activation stands between it and the next convolution or
        product.""",
    ),
    (
        "constant-input",
        "the batch norm reads a constant",
        """Its input is an initializer or a constant expression, so there is nothing to save.""",
    ),
    (
        "other-scope",
        "the value comes from another scope",
        """The operator before the batch norm stands outside the subgraph or function the batch
        norm is in. Other branches may read the same value: an `If` with a batch norm in each
        branch and the convolution outside has no fold, unless --set-input decides it.""",
    ),
    (
        "dynamic-weight",
        "the host's weight or bias is not a constant",
        """The operator is linear, but the operand that would take the affine is computed at run
        time or is a graph input without a value. For Gemm and MatMul: the constant operand does
        not own the batch norm's channel axis.""",
    ),
    (
        "quantized-weight",
        "a quantized weight cannot take the scale",
        """A weight behind DequantizeLinear takes a scale per channel into its quantization
        scale, and its integers stay. That is not possible where the scale is one for the whole
        tensor and the opset is below 13, where it belongs to blocks or to another axis, where
        other operators read the weight too, or where a negative factor would have to mirror an
        integer that has no mirror image (-128).""",
    ),
    (
        "channel-axis",
        "the affine varies along an axis that the host does not own",
        """A convolution has its features on axis 1; a MatMul on rank-3 data has those of its
        constant right operand on axis 2, so its weights cannot take a scale along axis 1, even
        if both axes have the same length. Statistics per activation vary along several axes at
        once.""",
    ),
    (
        "unknown-rank",
        "the rank of the data is not known",
        """Along which axis of the weight an affine goes depends on the rank, and neither the
        declared inputs nor shape inference tell it. Declare the shapes of the model's inputs.""",
    ),
    (
        "bias-shape",
        "the constant that is added or multiplied may broadcast the data",
        """An Add, Sub, Mul or Div stands between host and batch norm, and its constant is
        larger than the data along some axis, or the length of the data there is not known. Such
        an operator copies the data, and is no affine of it.""",
    ),
    (
        "not-linear",
        "an operator in the way is not linear",
        """An affine does not commute with it (Sigmoid, Clip, a product of two computed
        values...), or only a scale does (Relu) and the shift is not zero and has nowhere to
        stay.""",
    ),
    (
        "rounded",
        "the result is rounded to integers right behind",
        """A Floor, Ceil, Round or a Cast to an integer type follows, as in integer networks that
        are exported in floating point. All numbers are exact integers there; folded ones are not,
        and the rounding turns the last bit of a sum into a whole unit of the result.""",
    ),
    (
        "residual",
        "a sum of computed values that cannot all take the scale",
        """All terms of the sum would have to absorb the scale, and one of them the shift. The
        message names the term that cannot. Downstream, the other terms would have to be divided
        by it.""",
    ),
    (
        "padding",
        "a shift cannot pass an operator that pads with zeros",
        """A convolution that pads sees zeros at the border, where the batch norm in front of it
        gave its shift; a ConvTranspose sums over fewer elements there; a Pad writes one number
        for all channels. The scale alone could pass, but the shift cannot stay behind as an Add
        either, because the scale is zero in a channel or the type of the data is not known.""",
    ),
    (
        "sign",
        "an operator lets positive scales pass only",
        """A maximum, Relu, LeakyRelu or PRelu commutes with scales that are not negative. Here
        at least one channel has a negative one.""",
    ),
    (
        "not-carried",
        "an operator stands in between that does not let this affine through",
        """Affines pass Transpose, Reshape, Concat, Pad, pooling, Resize and other operators,
        each under its own condition; here it does not hold: an axis along which the affine
        varies is mixed with others, resized or reduced, lengths are not known, a Cast rounds, a
        mask or index is read.""",
    ),
    (
        "unknown-operator",
        "the operator in front is not known to bnopt",
        """A custom domain, a model-local function, or an operator of which bnopt has no proof
        that it is linear.""",
    ),
)

CALIBRATION_REASONS: dict[str, Reason] = _table(
    (
        "not-measurable",
        "the moments of the batch norm's input cannot be taken",
        """The statistics of a batch norm are the moments of its input, per channel. Here that
        input cannot be seen from outside (the body of an If, Loop or Scan, or a function that
        cannot be inlined), its rank is not known, it has statistics for each activation
        (spatial=0), or the operator set is older than 7, which onnxruntime does not run. Bind the
        inputs that choose a branch with --set-input, give the inputs of the model a rank, or
        convert the model to a newer operator set.""",
    ),
    (
        "merged-statistics",
        "mean and variance are no longer apart from gamma and beta",
        """An exporter has turned the batch norm into a multiplication and an addition of
        constants: gamma / sqrt(variance + epsilon) and beta - mean * that. New moments say what
        mean and variance should be, but not what gamma and beta were. Export again in a way that
        leaves the four apart (Keras and tf.layers: fused=True; without the optimizers of
        TensorFlow and tf2onnx). If the statistics were never updated, mean is 0 and variance 1,
        and gamma and beta are known: where the numbers show this the batch norm is calibrated,
        where you know it say --assume-never-updated. What went into the weights of a convolution
        is lost in any case.""",
    ),
)
"""Why `calibrate` left a batch norm as it was, where no reason of `REASONS` says it."""
