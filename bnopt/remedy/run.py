"""One calibration, from a wish to a result."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bnopt.delivery import Clock, Progress
from bnopt.errors import RefusalError, UsageError
from bnopt.remedy.ordinary import Ordinary, make_ordinary
from bnopt.remedy.proof import prove
from bnopt.results import CalibrateResult, Engine, Method, Timings

if TYPE_CHECKING:
    from bnopt.calibration.engine import Engine as EngineOf
    from bnopt.runtime.data import DataSource
    from bnopt.runtime.dataset import Dataset
    from bnopt.runtime.interface import TensorInfo
    from bnopt.source import Source


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
    assume_never_updated: bool = False
    validate: bool = True


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
    ready = make_ordinary(source, wish.set_inputs, wish.assume_never_updated)
    if not ready.slots:
        raise RefusalError(_nothing(ready))
    planned = clock.lap()
    # A node that was put in the place of others has to be the same batch norm, whatever it was.
    unproven = any(slot.rewritten or slot.form == "decomposed" for slot in ready.slots)
    before = ready.model.clone() if unproven else None
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
        feeds = list(found.dataset.feeds(0, 1))
        proof = prove(source, before, ready, feeds, wish.set_inputs, wish.provider)
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
    from bnopt.calibration.engine import LocalEngine

    if wish.engine not in get_args(Engine):
        raise UsageError(f"engine is '{wish.engine}', not one of {', '.join(get_args(Engine))}")
    if wish.engine == "dask":
        from bnopt.calibration.dask_engine import DaskEngine

        return DaskEngine(wish.scheduler, wish.workers)
    if wish.scheduler is not None or wish.workers is not None:
        raise UsageError("a scheduler or a number of workers is for the engine dask")
    return LocalEngine()


def _nothing(ready: Ordinary) -> str:
    for first in ready.kept:
        more = f" (and {len(ready.kept) - 1} more)" if len(ready.kept) > 1 else ""
        return f"no batch norm can be calibrated: {first.reason}: {first.message}{more}"
    for name in ready.folded:
        return (
            f"no batch norm is left to calibrate: an exporter has folded {len(ready.folded)} of "
            f"them into weights, such as those of '{name}'; export again without its optimizers"
        )
    return "the model has no batch norm that could be calibrated"
