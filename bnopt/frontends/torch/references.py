"""What the module itself computes in evaluation mode, in the highest precision it runs in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnopt.errors import UsageError
from bnopt.frontends.records import Reference
from bnopt.frontends.torch.calls import Call, failure, flatten, output_tensors
from bnopt.frontends.torch.modules import import_torch, inference_copy, same
from bnopt.frontends.torch.samples import samples, to_numpy
from bnopt.frontends.torch.watching import Watch, batch_normalizing


@dataclass(frozen=True, slots=True)
class Run:
    """One feed and what came out.

    Attributes:
        batch: Samples in it; 1 for a module without batches.
        tensors: The inputs, of the types that the module takes.
        outputs: The outputs, in the precision they were computed in.
    """

    batch: int
    tensors: tuple[Any, ...]
    outputs: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """What runs of the module have shown.

    Attributes:
        paths: A name for each output, made from where it is in the result.
        example: The run of the example inputs.
        runs: One for each batch size that was asked for; empty if the batch cannot vary.
        called: Names of the parts that were asked for, of those that ran.
        training: Those of them that `forward` puts into training mode.
        batch_normalizing: Parts that normalise by the batch in evaluation mode, as a function.
        notes: The precision, where it is not float64, and what is no output.
    """

    paths: tuple[str, ...]
    example: Run
    runs: tuple[Run, ...]
    called: frozenset[str]
    training: frozenset[str]
    batch_normalizing: frozenset[str]
    notes: tuple[str, ...]

    def references(
        self, call: Call, outputs: Sequence[str], fed: Collection[str], *, any_batch: bool
    ) -> tuple[Reference, ...]:
        """Records of these runs.

        Args:
            call: Names the inputs.
            outputs: Names of the outputs.
            fed: Inputs that the exported model has.
            any_batch: Whether it takes other batch sizes than that of the example.
        """
        return tuple(
            Reference(
                run.batch,
                {
                    name: to_numpy(tensor)
                    for name, tensor in zip(call.names, run.tensors, strict=True)
                    if name in fed
                },
                {
                    name: _wide(to_numpy(tensor))
                    for name, tensor in zip(outputs, run.outputs, strict=True)
                },
            )
            for run in (self.runs if any_batch else (self.example,))
        )


def evaluate(module: Any, call: Call, sizes: Sequence[int], watched: Collection[str]) -> Computed:
    """Run copies of a module.

    Args:
        module: It stays as it is.
        call: The example.
        sizes: Batch sizes to try beside that of the example.
        watched: Names of parts of which to say whether they ran.

    Raises:
        UsageError: The module does not run on the example in any precision, or returns no tensor.
    """
    torch = import_torch()
    notes: list[str] = []
    reasons: list[str] = []
    for precision in (torch.float64, torch.float32, None):
        exact = _at(inference_copy(module), precision)
        watch = Watch.of(exact, watched)
        try:
            result = _run(exact, call, call.tensors, precision)
            break
        except Exception as error:
            reasons.append(failure(error))
    else:
        raise UsageError(f"the module does not run on example_inputs: {reasons[-1]}")
    if reasons:
        kind = "float32" if precision is not None else "its own precision"
        notes.append(f"references are in {kind}: the module does not run in float64 ({reasons[0]})")
    tensors = output_tensors(result)
    if not tensors:
        raise UsageError(f"forward() returns {type(result).__name__} without a tensor in it")
    left_out = sum(
        value is not None and not isinstance(value, torch.Tensor) for _, value in flatten(result)
    )
    if left_out:
        notes.append(f"not in the model, as they are no tensors: {left_out} outputs of forward()")
    if precision is torch.float64 and any(
        tensor.is_floating_point() and tensor.dtype is not precision for _, tensor in tensors
    ):
        notes.append("the module itself casts to a lower precision than the references' float64")
    example = Run(call.batch or 1, call.tensors, tuple(tensor for _, tensor in tensors))
    if not _is_repeated(tensors, lambda: _run(exact, call, call.tensors, precision)):
        notes.append(
            "two runs on the same input differ: forward() draws random numbers or keeps a state"
        )
    runs: list[Run] = []
    for size in sizes if call.batch else ():
        fed = samples(call, size)
        try:
            outputs = output_tensors(_run(exact, call, fed, precision))
        except Exception as error:
            notes.append(f"the module does not run with a batch of {size}: {failure(error)}")
            runs.clear()
            break
        runs.append(Run(size, fed, tuple(tensor for _, tensor in outputs)))
    large = max((example, *runs), key=lambda run: run.batch)
    return Computed(
        tuple(path for path, _ in tensors),
        example,
        tuple(runs),
        frozenset(watch.called),
        frozenset(watch.training),
        batch_normalizing(exact, lambda: _run(exact, call, large.tensors, precision), large.batch),
        tuple(notes),
    )


def _is_repeated(tensors: Sequence[tuple[str, Any]], run: Callable[[], object]) -> bool:
    """Whether another run gives the same tensors."""
    try:
        again = output_tensors(run())
        return len(again) == len(tensors) and all(
            same(one, two) for (_, one), (_, two) in zip(tensors, again, strict=True)
        )
    except Exception:
        # What runs once need not run twice.
        return False


def _at(module: Any, precision: Any) -> Any:
    return module if precision is None else module.to(precision)


def _run(module: Any, call: Call, tensors: Sequence[Any], precision: Any) -> Any:
    fed = [
        tensor.to(precision)
        if precision is not None and tensor.is_floating_point()
        else tensor.clone()
        for tensor in tensors
    ]
    args, kwargs = call.with_tensors(fed)
    with import_torch().no_grad(), _default(precision):
        return module(*args, **kwargs)


@contextlib.contextmanager
def _default(precision: Any) -> Generator[None]:
    """What `torch.zeros(...)` within forward() makes is of that precision too."""
    torch = import_torch()
    before = torch.get_default_dtype()
    torch.set_default_dtype(precision or before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _wide(array: Any) -> Any:
    # ml_dtypes' types are none of numpy's floating types.
    return array.astype(np.float64) if array.dtype.kind in "fV" else array
