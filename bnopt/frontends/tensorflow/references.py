"""What TensorFlow itself computes, on generated inputs: the truth an export is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.errors import ExecutionError, LoadError
from bnopt.frontends.records import Reference
from bnopt.frontends.tensorflow import graphs, library
from bnopt.runtime import feeds
from bnopt.runtime.interface import TensorInfo, numpy_dtype
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_NAMES = {"float32": "float", "float64": "double", "half": "float16"}


def compute(
    graph_def: Any,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    batch_sizes: Sequence[int],
    seed: int = 0,
) -> tuple[list[Reference], list[str]]:
    """Run a frozen graph in TensorFlow, without grappler, with its sums in double precision.

    TensorFlow's CPU adds up one by one, and in single precision loses three digits over a batch of
    large images; what is looked for would be lost in it.

    Args:
        graph_def: The graph.
        inputs: Name in the ONNX model -> tensor.
        outputs: The same.
        batch_sizes: Which to try; a model whose batch is fixed has only that one.
        seed: The same seed gives the same inputs.

    Returns:
        One reference for each batch size that TensorFlow takes, and notes on those it does not.

    Raises:
        LoadError: Inputs for which no values can be made up.
        ExecutionError: TensorFlow takes none of the batch sizes.
    """
    tf = library.load("tensorflow")
    notes: list[str] = []
    found: list[Reference] = []
    refusal = ""
    graph = graphs.imported(with_wide_sums(graph_def))
    with graph.as_default():
        # Not the tensors themselves: grappler does not touch a node whose output is fetched.
        fetches = {
            name: tf.identity(graph.get_tensor_by_name(tensor)) for name, tensor in outputs.items()
        }
    infos = [_info(name, graph.get_tensor_by_name(tensor)) for name, tensor in inputs.items()]
    fixed = feeds.fixed_batch(infos)
    if feeds.batch_symbol(infos) is None:
        notes.append(f"the batch is fixed at {fixed}" if fixed else "no input has a batch")
        batch_sizes = [fixed or 1]
    rungs = list(feeds.ladder(infos))
    with tf.compat.v1.Session(graph=graph, config=_config(graph_def)) as session:

        def run(batch: int, sizes: feeds.Sizes, magnitude: feeds.Magnitude) -> Reference:
            drawn = feeds.generate(infos, batch=batch, magnitude=magnitude, seed=seed, sizes=sizes)
            feed = _feed(infos, drawn)
            results = session.run(fetches, {inputs[name]: array for name, array in feed.items()})
            arrays = {name: np.asarray(value) for name, value in results.items()}
            return Reference(batch, feed, arrays)

        for batch in batch_sizes:
            for sizes in list(rungs):
                try:
                    tried = (run(batch, sizes, magnitude) for magnitude in feeds.MAGNITUDES)
                    found.append(_most_telling(tried))
                except (tf.errors.OpError, ValueError) as error:
                    refusal = refusal or one_line(error)
                    continue
                rungs = [sizes]
                break
            else:
                notes.append(f"TensorFlow does not take batch size {batch}")
    if not found:
        raise ExecutionError(f"TensorFlow cannot run the model: {refusal}")
    for name in [name for name in outputs if any(name in _silent(one) for one in found)]:
        notes.append(
            f"output '{name}' is not finite, or one number everywhere, for every generated input: "
            "that it agrees says little"
        )
    return found, notes


def _most_telling(tried: Iterator[Reference]) -> Reference:
    """The first whose outputs say something; else the first."""
    first = best = next(tried)
    while _silent(best):
        following = next(tried, None)
        if following is None:
            return first
        best = following
    return best


def _silent(reference: Reference) -> list[str]:
    """Outputs that would agree with much else: with NaN, infinities, or one number everywhere."""
    found: list[str] = []
    for name, array in reference.outputs.items():
        if array.dtype.kind != "f" or not array.size:
            continue
        values = array.astype(np.float64)
        if not np.isfinite(values).all() or (values.size > 1 and not np.ptp(values)):
            found.append(name)
    return found


def with_wide_sums(graph_def: Any) -> Any:
    """A copy in which every Mean and Sum of float32 adds up in double precision."""
    dtypes = library.load("tensorflow").dtypes
    narrow, wide = dtypes.float32.as_datatype_enum, dtypes.float64.as_datatype_enum
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    for node in list(copy.node):
        if node.op not in ("Mean", "Sum") or node.attr["T"].type != narrow:
            continue
        before = copy.node.add(name=f"{node.name}/wide", op="Cast", input=[node.input[0]])
        before.attr["SrcT"].type, before.attr["DstT"].type = narrow, wide
        total = copy.node.add()
        total.CopyFrom(node)
        total.name, total.input[0] = f"{node.name}/total", before.name
        total.attr["T"].type = wide
        del node.input[:]
        node.input.append(total.name)
        node.op = "Cast"
        node.attr.clear()
        node.attr["SrcT"].type, node.attr["DstT"].type = wide, narrow
    return copy


def _config(graph_def: Any) -> Any:
    """Settings of the session; of grappler at most what lets a CPU run channels first."""
    config = library.session_config()
    functions = [node for function in graph_def.library.function for node in function.node_def]
    if any(
        node.attr["data_format"].s.startswith(b"NC")
        for node in [*graph_def.node, *functions]
        if "data_format" in node.attr
    ):
        options = config.graph_options.rewrite_options
        options.disable_meta_optimizer = False
        options.optimizers.append("layout")
        options.cpu_layout_conversion = options.NCHW_TO_NHWC
    return config


def _info(name: str, tensor: Any) -> TensorInfo:
    dtype = str(_NAMES.get(tensor.dtype.name, tensor.dtype.name))
    if numpy_dtype(dtype) is None:
        raise LoadError(
            f"input '{name}' is of {dtype}, which no network with batch norm computes on; name "
            "what is made of it as an input"
        )
    if tensor.shape.rank is None:
        # TensorFlow 1's `tf.placeholder(tf.bool)`: a switch.
        if dtype == "bool":
            return TensorInfo(name, dtype, ())
        raise LoadError(
            f"input '{name}' has no shape, not even a rank; bind it with --set-input {name}=VALUE, "
            "or name what is made of it as an input"
        )
    return TensorInfo(name, dtype, tuple(tensor.shape.as_list()))


def _feed(infos: Sequence[TensorInfo], feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same, in inference mode: a switch such as `is_training` is off."""
    switches = {info.name for info in infos if info.dtype == "bool" and info.shape == ()}
    return {
        name: np.zeros((), np.bool_) if name in switches else array for name, array in feed.items()
    }
