"""The two ways to take the statistics of all batch norms from data.

`precise`: every batch norm normalises with the statistics of its own batch, as in training, while
the moments of its input are gathered over all batches; then all are written at once. One pass.

`sequential`: depth by depth. What a batch norm gets are the moments of its input as they are once
all batch norms before it have their final statistics, so the result is what inference sees: the
fixed point, which a second run on the same data does not move. One pass for each depth.

`precise` differs from the fixed point by what the noise of batch statistics does to later layers;
it is what the population statistics of Wu & Johnson, "Rethinking Batch in BatchNorm",
arXiv:2105.07576, section 3, are (there "PreciseBN").
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bnopt.algebra.base import Context
from bnopt.calibration.batch_mode import batch_mode
from bnopt.calibration.checkpoint import Checkpoint, fingerprint, identify
from bnopt.calibration.depth import depths, layer_depths
from bnopt.calibration.engine import Engine, Task
from bnopt.calibration.layers import Layer, join, layers_of
from bnopt.calibration.runner import Part
from bnopt.calibration.slots import Slot
from bnopt.calibration.statistics import comparison, pooled, store
from bnopt.calibration.tally import Tally, run_pass
from bnopt.calibration.taps import Place, Tap, tapped
from bnopt.errors import RefusalError
from bnopt.evidence import Recalibrated
from bnopt.io import stage
from bnopt.runtime.interface import read_interface

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnopt.runtime.dataset import Dataset
    from bnopt.runtime.interface import TensorInfo

Open: TypeAlias = "Callable[[Sequence[TensorInfo]], Dataset]"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured and written.

    Attributes:
        layers: Old and new statistics, one for each slot, in their order.
        dataset: What was run.
        samples: How many samples, in each pass.
        passes: How many passes.
        resumed: Feeds of earlier runs that were taken from partial moments.
        partial: The partial moments, complete by now.
    """

    layers: tuple[Recalibrated, ...]
    dataset: Dataset
    samples: int
    passes: int
    resumed: int
    partial: Checkpoint


@dataclass(frozen=True, slots=True)
class Session:
    """How to measure.

    Attributes:
        open: Makes the dataset, given the inputs of the model.
        engine: Where to run.
        provider: `cpu` or `cuda`.
        seed: Of the order of the samples.
        resume: Where to keep partial moments; None keeps none.
        tell: Called with (stage, samples done, samples in all).
        pool: Whether calls of one layer get one pair of statistics; otherwise each gets its own.
    """

    open: Open
    engine: Engine
    provider: str
    seed: int | None
    resume: Path | None
    tell: Callable[[str, int, int], None]
    pool: bool = True


def precise(model: ir.Model, slots: Sequence[Slot], session: Session) -> Measurement:
    """Give every slot the moments of its input while all normalise by their batch.

    Args:
        model: Holds the slots; their statistics are written.
        slots: All that can be calibrated.
        session: How to measure.

    Raises:
        DataError: The data does not fit the model.
        ExecutionError: The model does not run.
        RefusalError: What was measured is no statistics.
        UsageError: Partial moments of another run.
    """
    behind = depths(model.graph, slots)
    layers = _layers(model, slots, session)
    found = _measure("precise", model, slots, layers, behind, session, [list(slots)], _all_at_once)
    whole = found.partial.finished[0]
    for slot, moments in zip(slots, whole.moments, strict=True):
        if moments is not None and moments.count < 2 * whole.feeds:
            raise RefusalError(
                f"the input of '{slot.name}' is one number for each channel and batch, which "
                "normalises to zero; take larger batches, or the method sequential"
            )
    return found


def sequential(model: ir.Model, slots: Sequence[Slot], session: Session) -> Measurement:
    """Give every slot the moments of its input once all before it have theirs.

    Arguments and errors are those of `precise`; a layer is also refused of which one call stands
    behind another.
    """
    layers = _layers(model, slots, session)
    levels = zip(layers, layer_depths(model.graph, layers), strict=True)
    level_of = {slot.site: level for layer, level in levels for slot in layer}
    behind = [level_of[slot.site] for slot in slots]
    groups = [
        [slot for slot, depth in zip(slots, behind, strict=True) if depth == level]
        for level in sorted(set(behind))
    ]
    return _measure("sequential", model, slots, layers, behind, session, groups, _as_it_is)


def _layers(model: ir.Model, slots: Sequence[Slot], session: Session) -> list[Layer]:
    if not session.pool:
        return [(slot,) for slot in slots]
    layers, notes = layers_of(model, slots)
    session.engine.notes += notes
    return layers


Prepared: TypeAlias = "tuple[ir.Model, tuple[Place, ...]]"


def _all_at_once(model: ir.Model, group: Sequence[Slot], provider: str) -> Prepared:
    made = batch_mode(model, group, provider=provider)
    return made.model, made.places


def _as_it_is(model: ir.Model, group: Sequence[Slot], provider: str) -> Prepared:
    made = tapped(Context.of(model), [Tap(slot.site, slot.input, 1) for slot in group])
    if not made.places:
        raise RefusalError(next(iter(made.notes), "nothing can be measured"))
    return made.model, made.places


def _measure(
    method: str,
    model: ir.Model,
    slots: Sequence[Slot],
    layers: Sequence[Layer],
    behind: Sequence[int],
    session: Session,
    groups: Sequence[Sequence[Slot]],
    prepare: Callable[[ir.Model, Sequence[Slot], str], Prepared],
) -> Measurement:
    measured: dict[str, Recalibrated] = {}
    level = {slot.site: depth for slot, depth in zip(slots, behind, strict=True)}
    state: Checkpoint | None = None
    dataset: Dataset | None = None
    resumed = 0
    for number, group in enumerate(groups):
        # Before anything is written: a later pass may not be asked to fit the first one's model.
        identity = "" if state is not None else fingerprint(model)
        with ExitStack() as stack:
            graph, places = prepare(model, group, session.provider)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-"))
            path = stack.enter_context(stage(graph, Path(folder) / "tapped.onnx")).path
            inputs = read_interface(path).inputs
            if dataset is None or state is None:
                dataset = session.open(inputs)
                about = {
                    "model": identity,
                    "data": identify(dataset, session.seed),
                    "method": method,
                }
                state = Checkpoint.open(session.resume, about)
                resumed = state.feeds
            task = Task(path, places, inputs, dataset, session.provider)
            whole = _pass(session, task, state, number, len(groups))
        moments = {
            site: one
            for place, one in zip(places, whole.moments, strict=True)
            for site in place.sites
        }
        for layer in (layer for layer in layers if layer[0] in group):
            together = pooled(layer, moments)
            for slot in layer:
                taken = store(slot, together)
                measured[slot.site] = comparison(slot, taken, level[slot.site])
            join(layer)
    assert state is not None
    assert dataset is not None
    records = tuple(measured[slot.site] for slot in slots)
    samples = state.finished[0].samples
    return Measurement(records, dataset, samples, len(groups), resumed, state)


def _pass(session: Session, task: Task, state: Checkpoint, number: int, passes: int) -> Part:
    if number < len(state.finished):
        return state.finished[number]
    tally = state.tally = state.tally or Tally.of(len(task.places))
    stage_name = "measure" if passes == 1 else f"measure, pass {number + 1} of {passes}"

    def tell(done: int, total: int) -> None:
        session.tell(stage_name, done, total)

    try:
        whole = run_pass(session.engine, task, tally, keep=state.save_now_and_then, tell=tell)
    except BaseException:
        # Ctrl-C or not: what is done is done.
        state.save()
        raise
    state.finish(whole)
    return whole
