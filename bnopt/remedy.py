"""From a model with wrong statistics, or none, to one with those of given data."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from bnopt.delivery import Clock, Progress
from bnopt.errors import RefusalError, UsageError, ValidationError
from bnopt.evidence import Uncalibrated
from bnopt.findings import REPAIRABLE
from bnopt.results import CalibrateResult, Engine, Method, Timings

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnopt.calibration.engine import Engine as EngineOf
    from bnopt.calibration.methods import Measurement
    from bnopt.calibration.slots import Slot
    from bnopt.findings import Validation
    from bnopt.runtime.data import DataSource
    from bnopt.runtime.dataset import Dataset
    from bnopt.runtime.interface import TensorInfo
    from bnopt.source import Source

TrainingMode: TypeAlias = Literal["refuse", "eval"]

BATCH_MODES = frozenset({"training-mode", "batch-statistics"})
"""Codes of findings that say that a batch norm normalises by its batch."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a model is to be calibrated; the attributes are the arguments of `bnopt.calibrate`."""

    data: DataSource
    method: Method = "precise"
    engine: Engine = "local"
    scheduler: str | None = None
    workers: int | None = None
    samples: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    resume: Path | None = None
    set_inputs: Mapping[str, object] | None = None
    provider: str = "cpu"
    validate: bool = True


@dataclass(frozen=True, slots=True)
class Ordinary:
    """A model whose batch norms are ordinary ones, ready for new statistics.

    Attributes:
        model: It.
        slots: Those that can be calibrated, in graph order.
        kept: Those that cannot.
        notes: What was done to the model.
        silenced: Names of Dropout nodes that were switched off.
    """

    model: ir.Model
    slots: tuple[Slot, ...]
    kept: tuple[Uncalibrated, ...]
    notes: tuple[str, ...]
    silenced: tuple[str, ...]


def make_ordinary(source: Source, set_inputs: Mapping[str, object] | None) -> Ordinary:
    """Turn every batch norm that allows it into one in inference mode, on a copy.

    Inputs are bound, branches that this decides are settled, and functions that hold batch norms
    are inlined first: what stands in a body cannot be measured from outside.

    Args:
        source: Only read.
        set_inputs: As for `bnopt.fold`.

    Raises:
        UsageError: A value in `set_inputs` that does not fit the model.
    """
    from bnopt.algebra.base import Context
    from bnopt.calibration import dropout, ordinary, written_out
    from bnopt.graph.ir_version import raise_ir_version
    from bnopt.passes.prepare import inline_batch_norms, prepare
    from bnopt.rules import View

    work = source.model.clone()
    notes = list(prepare(work, set_inputs=set_inputs).notes)
    notes += inline_batch_norms(work)
    notes += raise_ir_version(work)
    silenced = dropout.switch_off(work, Context.of(work))
    if silenced:
        notes.append(f"Dropout in training mode switched off: {', '.join(silenced)}")
    context = Context.of(work)
    norms = View.of(work, context).norms
    slots, kept = written_out.make_nodes(work, context)
    more, rest = ordinary.make_ordinary(work, Context.of(work), [slot.node for slot in slots])
    place = {norm.site: number for number, norm in enumerate(norms)}
    slots = sorted([*slots, *more], key=lambda slot: place.get(slot.site, len(place)))
    known = {one.site for one in (*slots, *kept, *rest)}
    for norm in norms:
        if norm.site not in known:
            reason = "merged-statistics" if norm.refusal is None else norm.refusal.reason
            why = f"'{norm.name}' no longer holds its mean and variance apart from gamma and beta"
            message = why if norm.refusal is None else norm.refusal.message
            rest.append(Uncalibrated(norm.site, norm.name, norm.form, reason, message))
    kept = sorted([*kept, *rest], key=lambda one: place.get(one.site, len(place)))
    return Ordinary(work, tuple(slots), tuple(kept), tuple(notes), tuple(silenced))


@contextmanager
def calibrated(source: Source, wish: Wish, tell: Progress) -> Generator[CalibrateResult]:
    """A calibrated model; partial moments are kept until the caller is done with it.

    `output` of the result is None: nothing else is written.

    Args:
        source: Only read.
        wish: How.
        tell: Called with (stage, done, total).

    Raises:
        RefusalError: No batch norm can be calibrated, or what was measured is no statistics.
        ValidationError: A rewritten batch norm does not compute what the original did.
        BnoptError: As `bnopt.calibrate` says.
    """
    from bnopt.calibration import methods

    if wish.method not in get_args(Method):
        raise UsageError(f"method is '{wish.method}', not one of {', '.join(get_args(Method))}")
    clock = Clock()
    tell("plan", 0, 1)
    ready = make_ordinary(source, wish.set_inputs)
    if not ready.slots:
        raise RefusalError(_nothing(ready.kept))
    planned = clock.lap()
    before = ready.model.clone() if any(slot.rewritten for slot in ready.slots) else None
    with _engine(wish) as engine:
        session = methods.Session(
            open=lambda inputs: _open(wish, inputs),
            engine=engine,
            provider=wish.provider,
            seed=wish.seed,
            resume=wish.resume,
            tell=tell,
        )
        run = methods.precise if wish.method == "precise" else methods.sequential
        found = run(ready.model, ready.slots, session)
    measured = clock.lap()
    proof = None
    if before is not None and wish.validate:
        tell("validate", 0, 1)
        proof = _prove(source, before, ready, wish, found)
    proven = clock.lap()
    yield CalibrateResult(
        model=ready.model,
        info=source.info(),
        layers=found.layers,
        kept=ready.kept,
        method=wish.method,
        engine=wish.engine,
        provider=wish.provider,
        samples=found.samples,
        batch_size=found.dataset.batch_size,
        seed=wish.seed,
        passes=found.passes,
        resumed=found.resumed,
        proof=proof,
        notes=(*ready.notes, *dict.fromkeys((*found.dataset.notes, *engine.notes))),
        timings=Timings(plan=planned, calibrate=measured, validate=proven),
        output=None,
    )
    found.partial.remove()


def _open(wish: Wish, inputs: Sequence[TensorInfo]) -> Dataset:
    """The data in batches of the size that was asked for, or in even ones of about the usual size.

    Of 33 samples 32 would leave a batch of one, whose statistics are none.
    """
    from bnopt.runtime.dataset import open_dataset
    from bnopt.runtime.feeds import batch_symbol

    def opened(size: int | None) -> Dataset:
        return open_dataset(
            wish.data, inputs, batch_size=size, max_samples=wish.samples, seed=wish.seed
        )

    dataset = opened(wish.batch_size)
    usual, samples = dataset.batch_size, dataset.samples
    if wish.batch_size is None and usual and samples and batch_symbol(inputs) is not None:
        feeds = -(-samples // usual)
        even = -(-samples // feeds)
        return dataset if even == usual else opened(even)
    return dataset


def _engine(wish: Wish) -> AbstractContextManager[EngineOf]:
    from contextlib import nullcontext

    from bnopt.calibration.engine import LocalEngine

    if wish.engine not in get_args(Engine):
        raise UsageError(f"engine is '{wish.engine}', not one of {', '.join(get_args(Engine))}")
    if wish.engine == "dask":
        from bnopt.calibration.dask_engine import DaskEngine

        return DaskEngine(wish.scheduler, wish.workers)
    if wish.scheduler is not None or wish.workers is not None:
        raise UsageError("a scheduler or a number of workers is for the engine dask")
    return nullcontext(LocalEngine())


def _nothing(kept: Sequence[Uncalibrated]) -> str:
    if not kept:
        return "the model has no batch norm that could be calibrated"
    more = f" (and {len(kept) - 1} more)" if len(kept) > 1 else ""
    return f"no batch norm can be calibrated: {kept[0].reason}: {kept[0].message}{more}"


def _prove(
    source: Source, before: ir.Model, ready: Ordinary, wish: Wish, found: Measurement
) -> Validation:
    """Compare the original with the rewritten model on one batch, whose statistics it is given.

    A batch norm that normalises with the statistics of its batch gives on that batch what an
    ordinary one gives that holds them. So the original and the copy have to agree on it, or what
    was put in place of the batch norm is not the same batch norm.
    """
    from bnopt import io
    from bnopt.algebra.base import Context
    from bnopt.calibration import dropout
    from bnopt.calibration.engine import LocalEngine
    from bnopt.calibration.methods import Session, precise
    from bnopt.calibration.slots import on
    from bnopt.judge import compare_models
    from bnopt.passes.specialise import bind
    from bnopt.runtime.dataset import open_dataset

    feeds = list(found.dataset.feeds(0, 1))
    session = Session(
        open=lambda inputs: open_dataset(feeds, inputs),
        engine=LocalEngine(),
        provider=wish.provider,
        seed=None,
        resume=None,
        tell=lambda stage, done, total: None,
    )
    precise(before, on(before, [slot for slot in ready.slots if slot.rewritten]), session)
    original = source.model.clone()
    if wish.set_inputs:
        bind(original, wish.set_inputs)
    if ready.silenced:
        dropout.switch_off(original, Context.of(original))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-")))
        verdict = compare_models(
            stack.enter_context(io.stage(original, folder / "original.onnx")).path,
            stack.enter_context(io.stage(before, folder / "rewritten.onnx")).path,
            providers=(wish.provider,),
            data=feeds,
        )
    if verdict.equivalent is False:
        messages = [output.message for output in verdict.outputs if not output.equivalent]
        raise ValidationError(
            "the batch norms that were rewritten do not reproduce the original on its own batch, "
            f"so nothing was written: {next(iter([*messages, *verdict.notes]), '')}",
            validation=verdict,
        )
    return verdict


@dataclass(frozen=True, slots=True)
class Repaired:
    """A model that is fit to be folded.

    Attributes:
        source: It; the one that was given if nothing had to be repaired.
        calibration: How its statistics were taken from data; None if they were not.
        notes: What was done.
        bound: Inputs that were bound and removed.
    """

    source: Source
    calibration: CalibrateResult | None = None
    notes: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()


def repair(
    source: Source,
    data: DataSource | None,
    set_inputs: Mapping[str, object] | None,
    provider: str,
    tell: Progress,
) -> Repaired:
    """Put batch norms into inference mode; with data, give them right statistics where needed.

    Args:
        source: Only read.
        data: Samples like those of the training data; None has only the stored statistics.
        set_inputs: As for `bnopt.fold`.
        provider: To measure on.
        tell: Called with (stage, done, total).

    Raises:
        RefusalError: A batch norm in training mode stores no statistics and there is no data, or
            it is of a kind that cannot be put into inference mode.
        BnoptError: As `bnopt.calibrate` says.
    """
    from bnopt import rules
    from bnopt.checkup import examine
    from bnopt.passes.prepare import prepare
    from bnopt.source import Source as SourceOf

    bound = tuple(set_inputs or ())
    work = source.model.clone()
    context = prepare(work, set_inputs=set_inputs).context
    seen = examine(work, context, data=data, run=False, provider=provider, tell=tell)
    findings = rules.check(seen.view)
    wrong = [f for f in findings if f.code in REPAIRABLE and f.severity != "info"]
    modes = [f for f in wrong if f.code in BATCH_MODES]
    if data is not None and wrong:
        wish = Wish(data=data, set_inputs=set_inputs, provider=provider)
        with calibrated(source, wish, tell) as result:
            notes = (f"statistics taken from data before folding: {_counted(result)}",)
            return Repaired(SourceOf(result.model), result, (*notes, *result.notes), bound)
    if not modes:
        return Repaired(source)
    ready = make_ordinary(source, set_inputs)
    for slot in ready.slots:
        if slot.rewritten and (slot.mean is None or slot.variance is None):
            raise RefusalError(
                f"'{slot.name}' stores no statistics to put it into inference mode with; give "
                "samples like those of the training data with --data"
            )
    batchwise = {finding.site for finding in modes}
    stuck = [one for one in ready.kept if one.site in batchwise]
    if stuck:
        raise RefusalError(
            f"'{stuck[0].name}' cannot be put into inference mode: {stuck[0].message}"
        )
    count = sum(slot.rewritten for slot in ready.slots)
    note = f"put into inference mode with their stored statistics: {count}"
    return Repaired(SourceOf(ready.model), None, (note, *ready.notes), bound)


def _counted(result: CalibrateResult) -> str:
    found = len(result.layers) + len(result.kept)
    return f"{len(result.layers)} of {found} batch norms, {result.samples} samples"
