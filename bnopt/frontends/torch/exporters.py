"""torch's two exporters, with the folding of batch norms turned off.

| exporter | what folds batch norms | what turns it off |
|---|---|---|
| dynamo (torch.export) | onnxscript's optimizer | `optimize=False` |
| TorchScript | the peephole pass of `TrainingMode.EVAL`, with constant folding | `PRESERVE` |
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import onnx_ir as ir

from bnopt.errors import BnoptError, DependencyError, ExecutionError, SaveError, UsageError
from bnopt.frontends.torch.calls import Call, failure
from bnopt.frontends.torch.modules import import_torch, inference_copy
from bnopt.frontends.torch.samples import samples
from bnopt.graph.names import Names
from bnopt.graph.scopes import scopes
from bnopt.io import stage
from bnopt.runtime.interface import read_interface

Exporter: TypeAlias = Literal["auto", "dynamo", "torchscript"]

_TITLES = {"dynamo": "torch.export", "torchscript": "TorchScript"}


@dataclass(frozen=True, slots=True)
class Exported:
    """A model file.

    Attributes:
        path: Where it is.
        exporter: `dynamo` or `torchscript`.
        dynamic: Whether it takes any batch size.
        inputs: Names of its inputs.
        notes: What became of attempts before, and what the exporter warned of.
    """

    path: Path
    exporter: str
    dynamic: bool
    inputs: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an exporter is asked for.

    Attributes:
        module: The caller's module; each attempt gets a copy.
        call: How it is called; names the inputs.
        outputs: Names of the outputs.
        path: The file to write.
        opset: Version of ONNX's operators.
        dynamic: Whether the batch is left open.
    """

    module: Any
    call: Call
    outputs: tuple[str, ...]
    path: Path
    opset: int
    dynamic: bool


def export_module(plan: Plan, exporter: Exporter) -> Exported:
    """Export by the first exporter that can: with an open batch if asked for, or else fixed.

    Raises:
        UsageError: There is no such exporter.
        DependencyError: onnxscript is missing, and `dynamo` was asked for.
        ExecutionError: None of them can.
        SaveError: The file cannot be written.
    """
    if exporter not in ("auto", *_TITLES):
        raise UsageError(f"exporter must be auto, dynamo or torchscript, not {exporter}")
    if not plan.path.parent.is_dir():
        raise SaveError(f"cannot write {plan.path}: there is no folder {plan.path.parent}")
    has_onnxscript = importlib.util.find_spec("onnxscript") is not None
    if exporter == "dynamo" and not has_onnxscript:
        raise DependencyError("onnxscript is not installed; run: pip install 'bnopt[torch]'")
    failed: dict[str, str] = {}
    if not has_onnxscript and exporter == "auto":
        failed[_TITLES["dynamo"]] = "onnxscript is not installed"
    for name in [exporter] if exporter != "auto" else [*_TITLES][not has_onnxscript :]:
        fixed_because = ""
        for dynamic in (True, False) if plan.dynamic else (False,):
            try:
                exported = _attempt(replace(plan, dynamic=dynamic), name)
            except BnoptError:
                raise
            except Exception as error:
                fixed_because = f" ({failure(error)})"
                failed[_TITLES[name]] = failure(error)
                continue
            notes = list(exported.notes)
            if plan.dynamic and not exported.dynamic:
                failed.pop(_TITLES[name], None)
                notes.insert(0, f"the batch is fixed at {plan.call.batch}{fixed_because}")
            if failed:
                other, reason = next(iter(failed.items()))
                notes.insert(0, f"exported by {_TITLES[name]}, as {other} failed: {reason}")
            return replace(exported, notes=tuple(notes))
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    raise ExecutionError(f"{type(plan.module).__name__} cannot be exported: {reasons}")


def _attempt(plan: Plan, exporter: str) -> Exported:
    """One export, looked at before it is believed.

    Raises:
        ValueError: The file is not what was asked for.
        Exception: Whatever torch raises.
    """
    call = plan.call
    model = call.flatten_forward(inference_copy(plan.module))
    tensors = call.tensors
    if plan.dynamic and call.batch is not None:
        # torch.export takes a batch of 1 for a constant.
        tensors = samples(call, max(call.batch, 2))
    with _quiet() as caught:
        (_dynamo if exporter == "dynamo" else _torchscript)(plan, model, tensors)
    interface = read_interface(plan.path)
    inputs = tuple(info.name for info in interface.inputs)
    outputs = tuple(info.name for info in interface.outputs)
    if outputs != plan.outputs or not set(inputs) <= set(call.names):
        raise ValueError(f"the model has inputs {inputs} and outputs {outputs}")
    batched = dict(zip(call.names, call.batched, strict=True))
    open_batch = all(
        info.shape is None or not isinstance(info.shape[0], int)
        for info in interface.inputs
        if batched[info.name]
    )
    notes = _tracer_warnings(caught)
    if unused := [name for name in call.names if name not in inputs]:
        notes.append(f"inputs that nothing reads are not in the model: {', '.join(unused)}")
    dynamic = plan.dynamic and any(batched[name] for name in inputs) and open_batch
    return Exported(plan.path, exporter, dynamic, inputs, tuple(notes))


def _dynamo(plan: Plan, model: Any, tensors: Sequence[Any]) -> None:
    torch = import_torch()
    shapes = None
    if plan.dynamic:
        batch = torch.export.Dim("batch")
        # forward() takes *tensors, which torch.export sees as one tuple.
        shapes = (tuple({0: batch} if batched else None for batched in plan.call.batched),)
    program = torch.onnx.export(
        model,
        tuple(tensors),
        dynamo=True,
        optimize=False,
        opset_version=plan.opset,
        dynamic_shapes=shapes,
        verbose=False,
    )
    # It logs that a conversion failed, and returns the model as it was.
    if (opset := program.model.opset_imports[""]) != plan.opset:
        raise ValueError(f"opset {opset} could not be converted to {plan.opset}")
    _name(program.model, plan.call.names, plan.outputs)
    with stage(program.model, plan.path) as staged:
        staged.commit()


def _name(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name inputs and outputs; torch does so without looking whether another value has the name."""
    faces = [*model.graph.inputs, *model.graph.outputs]
    wanted = [*inputs, *outputs]
    if len(faces) != len(wanted):
        raise ValueError(f"{len(wanted)} inputs and outputs became {len(faces)}")
    names = Names(model)
    for scope in scopes(model):
        made = [value for node in scope.graph for value in node.outputs]
        for value in [*scope.graph.inputs, *scope.graph.initializers.values(), *made]:
            if value.name in wanted:
                value.name = names.fresh(value.name)
    for value, name in zip(faces, wanted, strict=True):
        value.name = name


def _torchscript(plan: Plan, model: Any, tensors: Sequence[Any]) -> None:
    torch = import_torch()
    axes = {
        name: {0: "batch"}
        for name, batched in zip(plan.call.names, plan.call.batched, strict=True)
        if batched and plan.dynamic
    }
    # Before it raises it prints the whole graph from C++, past sys.stdout; it takes no switch.
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = _say_nothing
    try:
        torch.onnx.export(
            model,
            tuple(tensors),
            str(plan.path),
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=plan.opset,
            input_names=list(plan.call.names),
            output_names=list(plan.outputs),
            dynamic_axes=axes,
        )
    except BaseException:
        plan.path.unlink(missing_ok=True)
        raise
    finally:
        torch._C._jit_onnx_log = log


def _say_nothing(*_: Any) -> None:
    pass


def _tracer_warnings(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    """Where TorchScript's tracer took something for a constant; not those in torch itself."""
    torch = import_torch()
    own = str(Path(torch.__file__).parent)
    places = {
        f"{Path(one.filename).name}:{one.lineno}"
        for one in caught
        if issubclass(one.category, torch.jit.TracerWarning) and not one.filename.startswith(own)
    }
    text = "is a constant in the model, as it was for the example (torch's TracerWarning)"
    return [f"what {place} decides {text}" for place in sorted(places)]


@contextlib.contextmanager
def _quiet() -> Generator[list[warnings.WarningMessage]]:
    """Collect warnings; the exporters' prints and logs are for their developers."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            yield caught
    finally:
        logging.disable(level)
