"""Does the output for one sample depend on the others in its batch, or on the input at all?

The model runs, with onnxruntime's optimizations off, on a batch; again (does it draw random
numbers?); on the batch with every number moved by one unit in the last place (the noise floor); on
the batch with one sample kept and the others replaced; and on each sample alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bnopt.errors import DataError, ExecutionError
from bnopt.evidence import Behaviour, OutputBehaviour
from bnopt.judge.bench import Bench
from bnopt.judge.compare import difference, is_float, magnitude
from bnopt.judge.feasible import cannot_run
from bnopt.judge.plan import noisy
from bnopt.judge.samples import Batch, doubt
from bnopt.runtime.data import load_data
from bnopt.runtime.feeds import generate, ladder
from bnopt.runtime.interface import read_interface
from bnopt.runtime.process import Worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnopt.runtime.data import DataSource
    from bnopt.runtime.feeds import Magnitude, Sizes
    from bnopt.runtime.interface import Interface, TensorInfo

    Feed: TypeAlias = dict[str, NDArray[Any]]
    Outputs: TypeAlias = dict[str, NDArray[Any]]

SAMPLES = 4
"""Samples in a batch, where the model leaves that open."""

_JOBS = 5


def observe(
    path: Path,
    *,
    data: DataSource | None = None,
    provider: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
    timeout: float = 300.0,
) -> Behaviour:
    """Run a model on a batch, on its samples, and on batches with other neighbours.

    Args:
        path: The model.
        data: User data to run on; generated inputs without.
        provider: `cpu` or `cuda`.
        progress: Called with (`run`, runs done, runs expected).
        timeout: Seconds that one job may take in the worker.

    Returns:
        What was seen. A model that cannot be run, or of which nothing can be said, has notes.

    Raises:
        LoadError: A file that is not a model.
        DataError: Data that does not fit the model.
        DependencyError: No usable onnxruntime.
        ProviderError: The provider is not there.
    """
    interface = read_interface(path)
    with Worker(timeout) as worker:
        stand = _Stand(Bench(worker, _stepper(progress)), path, provider, interface)
        try:
            feeds = stand.feeds() if data is None else stand.user_feeds(data)
            return stand.observe(*feeds)
        except ExecutionError as error:
            return Behaviour(1, (), (*stand.notes, cannot_run(error.message)))


@dataclass(slots=True)
class _Seen:
    """Outputs of the runs, in the order of `_Stand.observe`."""

    base: Outputs
    again: Outputs
    noise: list[Outputs]
    other: Outputs
    kept: list[tuple[int, Outputs]]
    alone: list[Outputs] | None


@dataclass(slots=True)
class _Stand:
    """A model in the worker, and what has to be said about running it."""

    bench: Bench
    path: Path
    provider: str
    interface: Interface
    notes: list[str] = field(default_factory=list[str])

    def feeds(self) -> tuple[Feed, Feed, Batch]:
        """A batch, a batch of other samples, and how to cut them.

        Half of the samples are drawn from another distribution, so that the statistics of the
        batch are not those of a sample; the others are 30 times as large.
        """
        inputs = self.interface.inputs
        batch = Batch.of(inputs)
        rungs = list(ladder(inputs))
        count = SAMPLES if batch.size is None else batch.size
        try:
            sizes = self._first(rungs, count)
        except ExecutionError:
            if count == 1 or batch.size is not None:
                raise
            sizes, count = self._first(rungs, 1), 1
            self.notes.append("the model runs at batch size 1 only")

        def draw(magnitude: Magnitude, seed: int) -> Feed:
            return self._inference(
                generate(inputs, batch=count, magnitude=magnitude, seed=seed, sizes=sizes)
            )

        base = draw("normal x1", 0)
        for index in range(count // 2):
            base = batch.keep(draw("uniform [0, 1)", 1), index, base)
        return base, draw("normal x30", 2), batch

    def user_feeds(self, data: DataSource) -> tuple[Feed, Feed, Batch]:
        """The same from user data; other samples are further ones, or the same in another order."""
        inputs = self.interface.inputs
        batch = Batch.of(inputs)
        feeds = load_data(data, inputs, max_samples=4 * (batch.size or SAMPLES)).feeds
        if batch.size is None and batch.axes:
            samples = [batch.take(feed, i) for feed in feeds for i in range(batch.count(feed))]
            shapes = [{name: array.shape for name, array in one.items()} for one in samples]
            alike = [one for one, shape in zip(samples, shapes, strict=True) if shape == shapes[0]]
            size = min(SAMPLES, len(alike))
            first, rest = alike[:size], [*alike[size:], *alike[1:], alike[0]][:size]
            feeds = [self._join(batch, first), self._join(batch, rest)]
        other = next((f for f in feeds[1:] if _shapes(f) == _shapes(feeds[0])), feeds[0])
        return feeds[0], other, batch

    @staticmethod
    def _join(batch: Batch, samples: Sequence[Feed]) -> Feed:
        whole = samples[0]
        for one in samples[1:]:
            whole = batch.joined(whole, one)
        return whole

    def _first(self, rungs: Sequence[Sizes], count: int) -> Sizes:
        inputs = self.interface.inputs
        try:
            feeds = [self._inference(generate(inputs, batch=count, sizes=s)) for s in rungs]
        except DataError as error:
            # No inputs can be made up: that is not about data the user gave.
            raise ExecutionError(error.message) from None
        return rungs[self.bench.first_runnable(self.path, feeds, self.provider)]

    def _inference(self, feed: Feed) -> Feed:
        """A switch such as `is_training` is fed False: what is asked about is inference."""
        switches = [n for n, array in feed.items() if array.dtype == np.bool_ and array.size == 1]
        if switches:
            note = f"fed False to {', '.join(switches)}"
            self.notes += [note] if note not in self.notes else []
        return {**feed, **{name: np.zeros_like(feed[name]) for name in switches}}

    def observe(self, base: Feed, other: Feed, batch: Batch) -> Behaviour:
        """Run, and compare."""
        count = batch.count(base)
        reason = doubt(self.interface) if count > 1 else ""
        if count == 1 and all(np.array_equal(array, other[name]) for name, array in base.items()):
            reason = "there is one sample only"
        self.notes += [f"nothing is said about the batch: {reason}"] if reason else []
        kept = [] if count == 1 else [0, count - 1]
        neighbours = [batch.keep(base, index, other) for index in kept]
        feeds = [base, base, noisy(base, 0), noisy(base, 1), other, *neighbours]
        outputs = self._run(feeds)
        alone = self._alone(base, batch, count)
        changed = list(zip(kept, outputs[5:], strict=True))
        seen = _Seen(outputs[0], outputs[1], outputs[2:4], outputs[4], changed, alone)
        found = [
            self._output(info, seen, count, batch.size is None)
            for info in self.interface.outputs
            if info.name in seen.base and is_float(seen.base[info.name])
        ]
        if reason:
            found = [replace(one, per_sample=False, alone=None, neighbours=None) for one in found]
        return Behaviour(count, tuple(found), tuple(dict.fromkeys(self.notes)))

    def _run(self, feeds: Sequence[Feed]) -> list[Outputs]:
        return self.bench.onnxruntime(self.path, feeds, self.provider, "off").outputs

    def _alone(self, base: Feed, batch: Batch, count: int) -> list[Outputs] | None:
        if batch.size is not None or count == 1 or not batch.axes:
            return None
        try:
            return self._run([batch.take(base, index) for index in range(count)])
        except ExecutionError as error:
            self.notes.append(f"the model does not run on one sample alone: {error.message}")
            return None

    def _output(self, info: TensorInfo, seen: _Seen, count: int, opened: bool) -> OutputBehaviour:
        name, base = info.name, seen.base[info.name]
        peak = float(magnitude(base).max(initial=0.0))

        def apart(one: NDArray[Any], two: NDArray[Any]) -> float:
            """Largest difference over the peak; 0 / 0 is 0, different shapes are infinitely far."""
            if one.shape != two.shape:
                return float("inf")
            most = float(difference(one, two).max(initial=0.0))
            return most if most == 0.0 else most / peak if peak else float("inf")

        noise = max(apart(one[name], base) for one in seen.noise)
        nothing = OutputBehaviour(name, False, noise, None, None, 0.0)
        if base.size == 0 or bool(np.isnan(base).any()):
            self.notes.append(f"output '{name}' is {'NaN' if base.size else 'empty'} on this input")
            return nothing
        if apart(seen.again[name], base) > 0.0:
            self.notes.append(
                f"output '{name}' is not the same twice: it is random, or has a state"
            )
            return nothing
        spread = 0.0
        if seen.other[name].shape == base.shape:
            spread = apart(seen.other[name], base)
        per_sample = base.ndim > 0 and base.shape[0] == count
        if seen.alone is not None:
            per_sample = per_sample and all(one[name].shape[:1] == (1,) for one in seen.alone)
        elif opened and count > 1:
            per_sample = per_sample and bool(info.shape) and not isinstance(info.shape[0], int)
        if not per_sample:
            return replace(nothing, spread=spread)
        if count > 1:
            spread = max(spread, *(apart(one, base[0]) for one in base[1:]))
        alone = neighbours = None
        if seen.alone is not None:
            pairs = zip(seen.alone, base, strict=True)
            alone = max(apart(one[name][0], sample) for one, sample in pairs)
        if seen.kept:
            neighbours = max(
                apart(found[name][index], base[index])
                if found[name].shape == base.shape
                else float("inf")
                for index, found in seen.kept
            )
        return OutputBehaviour(name, True, noise, alone, neighbours, spread)


def _shapes(feed: Feed) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in feed.items()}


def _stepper(progress: Callable[[str, int, int], None] | None) -> Callable[[str], None]:
    done = 0

    def step(_: str) -> None:
        nonlocal done
        if progress is not None:
            progress("run", done, max(_JOBS, done + 1))
        done += 1

    return step
