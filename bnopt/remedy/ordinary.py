"""A copy of a model in which every batch norm that allows it is an ordinary one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnopt.evidence import Uncalibrated

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnopt.calibration.merged import Merged
    from bnopt.calibration.slots import Slot
    from bnopt.rules import View
    from bnopt.rules.norms import Norm
    from bnopt.source import Source


@dataclass(frozen=True, slots=True)
class Ordinary:
    """A model whose batch norms are ordinary ones, ready for new statistics.

    Attributes:
        model: It.
        slots: Those that can be calibrated, in graph order.
        kept: Those that cannot.
        notes: What was done to the model.
        silenced: Names of Dropout nodes that were switched off.
        folded: Names of operators whose weights hold a batch norm that an exporter has folded.
    """

    model: ir.Model
    slots: tuple[Slot, ...]
    kept: tuple[Uncalibrated, ...]
    notes: tuple[str, ...]
    silenced: tuple[str, ...]
    folded: tuple[str, ...]


def make_ordinary(
    source: Source,
    set_inputs: Mapping[str, object] | None,
    assume_never_updated: bool = False,
    constants: bool = True,
) -> Ordinary:
    """Turn every batch norm that allows it into one in inference mode, on a copy.

    Inputs are bound, branches that this decides are settled, and functions that hold batch norms
    are inlined first: what stands in a body cannot be measured from outside.

    Args:
        source: Only read.
        set_inputs: As for `bnopt.fold`.
        assume_never_updated: As for `bnopt.calibrate`.
        constants: Whether batch norms that are written out with constants become nodes, too. They
            are in inference mode as they are.

    Raises:
        UsageError: A value in `set_inputs` that does not fit the model.
    """
    from bnopt.algebra.base import Context
    from bnopt.calibration import dropout, merged, ordinary, written_out
    from bnopt.graph.ir_version import raise_ir_version
    from bnopt.passes.prepare import inline_batch_norms, prepare
    from bnopt.rules import View as ViewOf

    work = source.model.clone()
    notes = list(prepare(work, set_inputs=set_inputs).notes)
    notes += inline_batch_norms(work)
    notes += raise_ir_version(work)
    silenced = dropout.switch_off(work, Context.of(work))
    if silenced:
        notes.append(f"Dropout in training mode switched off: {', '.join(silenced)}")
    inputs = [value.name for value in work.graph.inputs]
    context = Context.of(work)
    view = ViewOf.of(work, context)
    folded = tuple(trace.name for trace in view.traces)
    place = {norm.site: number for number, norm in enumerate(view.norms)}
    slots, kept = written_out.make_nodes(work, context, stored=constants)
    context = Context.of(work)
    chains = _merged(ViewOf.of(work, context), assume_never_updated) if constants else []
    more, rest = merged.make_nodes(work, context, chains)
    slots, kept = [*slots, *more], [*kept, *rest]
    more, rest = ordinary.make_ordinary(work, Context.of(work), [slot.node for slot in slots])
    slots, kept = [*slots, *more], [*kept, *rest]
    made = {slot.node for slot in slots}
    known = {one.site for one in kept}
    for norm in ViewOf.of(work, Context.of(work)).norms:
        if norm.node not in made and norm.site not in known:
            kept.append(_left(norm))
    left = {value.name for value in work.graph.inputs}
    if gone := [f"'{name}'" for name in inputs if name not in left]:
        notes.append(f"inputs with default values that nothing reads any more: {', '.join(gone)}")
    slots.sort(key=lambda slot: place.get(slot.site, len(place)))
    kept.sort(key=lambda one: place.get(one.site, len(place)))
    if folded:
        notes.append(f"folded into weights by an exporter, so not calibrated: {len(folded)}")
    return Ordinary(work, tuple(slots), tuple(kept), tuple(notes), tuple(silenced), folded)


def _left(norm: Norm) -> Uncalibrated:
    """A batch norm that nothing above could make ordinary, or said why not."""
    if norm.refusal is not None:
        reason, message = norm.refusal.reason, norm.refusal.message
    else:
        reason = "merged-statistics"
        message = f"'{norm.name}' no longer holds its mean and variance apart from gamma and beta"
    return Uncalibrated(norm.site, norm.name, norm.form, reason, message)


def _merged(view: View, assume: bool) -> list[Merged]:
    """Chains of constants whose statistics are known to be 0 and 1, or said to be."""
    from bnopt.calibration.merged import Merged
    from bnopt.rules.initial import initial_values, unit_variance

    never = {initial.site for initial in initial_values(view) if initial.never}
    usual = 1e-5 if view.framework == "pytorch" else 1e-3
    found: list[Merged] = []
    for norm in view.norms:
        if norm.form != "decomposed" or norm.scale is None or norm.input is None:
            continue
        epsilon = unit_variance(norm.scale)
        if norm.axis is not None and (assume or (epsilon is not None and norm.site in never)):
            found.append(
                Merged(
                    norm.site,
                    norm.name,
                    norm.nodes,
                    norm.input,
                    norm.axis,
                    norm.scale,
                    norm.shift,
                    epsilon or usual,
                    norm.scope.path == "main",
                )
            )
    return found
