"""PyTorch modules: inspected, exported with every batch norm, and run for reference.

torch's default exporter folds batch norms into convolutions without a word, and puts a module that
was left in training mode into inference mode without a word. So the module is inspected before the
export, and exported with the folding turned off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bnopt.errors import UsageError
from bnopt.findings import Finding
from bnopt.frontends.records import Converted
from bnopt.frontends.torch import inspection
from bnopt.frontends.torch.calls import Call
from bnopt.frontends.torch.exporters import Exporter, Plan, export_module
from bnopt.frontends.torch.modules import frameworks, import_torch, left_alone, plain_module
from bnopt.frontends.torch.norms import find_norms
from bnopt.frontends.torch.references import evaluate
from bnopt.frontends.torch.sites import uses_of

__all__ = ["check_module", "export"]


def check_module(module: Any) -> list[Finding]:
    """What is wrong with the batch norms of a module, before anything is exported.

    Looks at every module that holds moving statistics: torch's BatchNorm, SyncBatchNorm and
    InstanceNorm, and others that have `running_mean` and `running_var`.

    Args:
        module: A `torch.nn.Module`; it is not changed.

    Returns:
        Findings with the codes of `bnopt.check`: `non-finite`, `training-mode`,
        `batch-statistics`, `never-updated`, `barely-updated`, `fast-average`. `site` is the name of
        the batch norm in the module, such as `layer1.0.bn1`.

    Raises:
        UsageError: It is no module, or holds lazy parameters without a shape.
        DependencyError: torch is not installed.
    """
    return inspection.findings(find_norms(plain_module(module)[0]))


def export(
    module: Any,
    example_inputs: Any,
    *,
    folder: str | Path,
    opset: int = 18,
    dynamic_batch: bool = True,
    exporter: Exporter = "auto",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    training_mode: Literal["refuse", "eval"] = "refuse",
) -> Converted:
    """Export a module in inference mode, with all its batch norms.

    The module itself stays as it is; a copy on the CPU is exported.

    Args:
        module: A `torch.nn.Module`.
        example_inputs: A tensor, a tuple or list of positional arguments, or a dict of keyword
            arguments. Tensors become inputs of the model, also those within tuples, lists and
            dicts; everything else is fixed at the value it has here.
        folder: An existing folder; `model.onnx` is written into it.
        opset: Version of ONNX's operators.
        dynamic_batch: Whether axis 0 is left open, for all inputs that have it in common with
            the first one.
        exporter: `dynamo` (torch.export, needs onnxscript), `torchscript`, or `auto`: the first,
            or the other one where that fails.
        input_names: Names of the inputs; those of the arguments of `forward` if None.
        output_names: Names of the outputs; keys of a dict, or `output`, if None.
        batch_sizes: Samples in each reference, where the batch is open.
        training_mode: What to say of a batch norm that was left in training mode, which is
            exported in evaluation mode in any case: `refuse`, that it is an error; `eval`, that
            this was wanted.

    Returns:
        The model with its references, in float64 where the module runs in it. Inputs of
        references are the examples, and samples made up from them.

    Raises:
        UsageError: No module, no tensors, names that do not fit, or a module that does not run
            on `example_inputs`.
        DependencyError: torch is not installed, or onnxscript where `dynamo` was asked for.
        ExecutionError: No exporter can export it.
        SaveError: The file cannot be written.
    """
    plain, notes = plain_module(module)
    norms = find_norms(plain)
    call = Call.of(plain, example_inputs, input_names)
    sizes = sorted(set(batch_sizes)) if dynamic_batch else []
    if any(size < 1 for size in sizes) or (dynamic_batch and not sizes):
        raise UsageError("batch_sizes must be one or more positive numbers")
    with left_alone(plain):
        computed = evaluate(plain, call, sizes, [norm.name for norm in norms])
    plan = Plan(
        plain,
        call,
        call.name_outputs(computed.paths, output_names),
        path=Path(folder) / "model.onnx",
        opset=opset,
        dynamic=dynamic_batch and bool(computed.runs),
    )
    with left_alone(plain):
        exported = export_module(plan, exporter)
    uses = uses_of(exported.path, [norm.name for norm in norms])
    # One that is not called may still be used: forward() can do its own sums with the statistics.
    called = computed.called | uses.read
    known = [norm.as_called(norm.name in called, norm.name in computed.training) for norm in norms]
    named = {norm.name: norm for norm in known}
    return Converted(
        path=exported.path,
        kind="torch",
        framework=frameworks(import_torch(), exported.exporter),
        references=computed.references(
            call, plan.outputs, exported.inputs, any_batch=exported.dynamic
        ),
        findings=tuple(
            inspection.findings(
                known,
                to_eval=training_mode == "eval",
                batch_normalizing=computed.batch_normalizing,
            )
        ),
        variables=inspection.variables(known),
        notes=(*notes, *computed.notes, *exported.notes, *inspection.notes(known)),
        judged={site: inspection.judged(named[name]) for site, name in uses.sites.items()},
    )
