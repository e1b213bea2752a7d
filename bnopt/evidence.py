"""The frozen records of what an audit rests on: stored numbers, measured ones, behaviour.

Like those of `findings`, every layer may name them, and nothing here computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnopt.findings import Form


@dataclass(frozen=True, slots=True)
class Measured:
    """Moments, per channel, of what a batch norm normalises, over all data that was given.

    Attributes:
        samples: How many samples were run.
        count: How many numbers per channel: samples times positions.
        mean: Mean of each channel, in the units of the tensor.
        variance: Population variance of each channel.
    """

    samples: int
    count: int
    mean: tuple[float, ...]
    variance: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The numbers of one batch norm, per channel; None for what the model no longer holds.

    Attributes:
        site: The id of the site.
        gamma: Scale parameter.
        beta: Shift parameter.
        mean: Moving mean, as stored.
        variance: Moving variance, as stored.
        epsilon: Added to the variance.
        scale: `gamma / sqrt(variance + epsilon)`.
        measured: Moments of its real input; None without data.
        verdict: `consistent`, `stale`, `wrong-range` or `not-enough-data`; empty without data.
    """

    site: str
    gamma: tuple[float, ...] | None = None
    beta: tuple[float, ...] | None = None
    mean: tuple[float, ...] | None = None
    variance: tuple[float, ...] | None = None
    epsilon: float | None = None
    scale: tuple[float, ...] | None = None
    measured: Measured | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """The statistics of one batch norm, before and after they were taken from data.

    All are per channel, in the units of the batch norm's input.

    Attributes:
        site: The id of the site in the original.
        name: The node's name, or its output's name where it has none.
        form: How it was written in the original.
        depth: How many batch norms stand one behind another before it: 0 for the first.
        count: Numbers per channel that the new statistics were taken from: samples x positions.
        epsilon: Added to the variance.
        old_mean: As stored in the original; None if it had none of its own, as with batch
            statistics.
        old_variance: Likewise.
        mean: As measured and written.
        variance: As measured (population variance) and written.
        gamma: Scale parameter; None if it is no constant.
        beta: Shift parameter; likewise.
        shift: (mean - old_mean) / sqrt(variance + epsilon): by how many standard deviations the
            old mean was off; None without an old one.
        ratio: sqrt((old_variance + epsilon) / (variance + epsilon)): above 1 the old statistics
            made outputs too small; likewise.
        off: Root mean square, over channels and data, of what the old statistics put normalised
            values off by, in standard deviations; likewise.
    """

    site: str
    name: str
    form: Form
    depth: int
    count: int
    epsilon: float
    old_mean: tuple[float, ...] | None
    old_variance: tuple[float, ...] | None
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    gamma: tuple[float, ...] | None = None
    beta: tuple[float, ...] | None = None
    shift: tuple[float, ...] | None = None
    ratio: tuple[float, ...] | None = None
    off: float | None = None


@dataclass(frozen=True, slots=True)
class Uncalibrated:
    """A batch norm that was left as it was.

    Attributes:
        site: The id of the site in the original.
        name: The node's name, or its output's name where it has none.
        form: How it is written.
        reason: A slug of `bnopt.reasons`.
        message: One line that names the place.
    """

    site: str
    name: str
    form: Form
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """One output of an exported model against the framework's own, for one batch size.

    Attributes:
        batch: Samples in the batch.
        output: The output's name.
        max_abs: Largest |ONNX - framework|, in the output's units; NaN if one of them is not finite
            where the other is.
        max_rel: `max_abs` over the framework's largest |value|.
        tolerance: The absolute error that was allowed.
        ok: Whether it is within.
    """

    batch: int
    output: str
    max_abs: float
    max_rel: float
    tolerance: float
    ok: bool


@dataclass(frozen=True, slots=True)
class OutputBehaviour:
    """How one output depends on the batch; errors are relative to its largest |value|.

    Attributes:
        name: The output's name.
        per_sample: Whether its leading axis is the batch, so that samples can be told apart.
        noise: Largest change under a change of the input by one unit in the last place.
        alone: Largest difference between a sample run alone and in its batch; None if the model
            takes one batch size only.
        neighbours: Largest change of a sample when the others in its batch are replaced; None if a
            batch holds no others.
        spread: Largest difference between two samples: 0 if the output ignores the input.
    """

    name: str
    per_sample: bool
    noise: float
    alone: float | None
    neighbours: float | None
    spread: float


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What running a model on a batch and on its samples has shown.

    Attributes:
        batch: Samples in a batch.
        outputs: One record per floating-point output.
        notes: What could not be run, and why.
    """

    batch: int
    outputs: tuple[OutputBehaviour, ...]
    notes: tuple[str, ...] = ()
