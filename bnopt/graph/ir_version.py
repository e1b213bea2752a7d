"""Models older than IR version 4, in which every initializer must be a graph input as well."""

from __future__ import annotations

import onnx_ir as ir

# The first IR version in which an initializer need not be a graph input.
IR_VERSION = 4


def raise_ir_version(model: ir.Model) -> tuple[str, ...]:
    """Make room, in place, for initializers that are no inputs; new ones should not become inputs.

    Runtimes treat those inputs as constants before IR 4, and as overridable, hence not to be
    optimised, from IR 4 on. So they cease to be inputs with the version that demanded it.

    Returns:
        A note for the report, if anything was changed.
    """
    if model.ir_version >= IR_VERSION:
        return ()
    old = model.ir_version
    model.ir_version = IR_VERSION
    graph = model.graph
    formal = [value for value in graph.inputs if value.is_initializer()]
    if not formal:
        return (f"IR version raised from {old} to {IR_VERSION}",)
    keep = [value for value in graph.inputs if not value.is_initializer()]
    graph.inputs.clear()
    graph.inputs.extend(keep)
    note = (
        f"IR version raised from {old} to {IR_VERSION}, where initializers need not be inputs; "
        f"{len(formal)} of them no longer are"
    )
    return (note,)
