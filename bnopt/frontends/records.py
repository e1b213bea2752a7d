"""What a front end hands on: a model file, what the framework computed, what was seen before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bnopt.findings import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind: TypeAlias = Literal["saved-model", "keras", "frozen-graph", "checkpoint", "torch"]


_STATISTICS = frozenset({"moving_mean", "moving_variance", "shadow"})
"""Roles of variables that hold what inference normalises with."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of a batch norm, as it was before it was frozen.

    Attributes:
        name: Its name in the framework.
        role: `moving_mean`, `moving_variance`, `gamma`, `beta`, `shadow` (of an
            ExponentialMovingAverage), `biased`, `local_step`, `renorm` or `steps`.
        shape: Its shape.
        initial: Whether it still holds its initial value; None if that is not known.
        low: Its smallest number.
        high: Its largest number.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    initial: bool | None
    low: float
    high: float


def none_ever_moved(variables: Sequence[Variable]) -> bool:
    """Whether every moving statistic is known to hold its initial value.

    If one has moved, gamma and beta of its batch norm cannot be told from merged constants, and an
    assumption about the whole model would be wrong for it.
    """
    known = [variable.initial for variable in variables if variable.role in _STATISTICS]
    return bool(known) and all(known)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the framework itself computes in inference mode, for one feed.

    Attributes:
        batch: Samples in the feed.
        feeds: Input name (as in the ONNX model) -> array.
        outputs: Output name (as in the ONNX model) -> array.
    """

    batch: int
    feeds: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Converted:
    """A framework's model as ONNX, not yet checked or folded.

    Attributes:
        path: The ONNX file, in the folder that was given; every batch norm still in it.
        kind: What the source was.
        framework: Name and version, such as `tensorflow 2.21.0, tf2onnx 1.17.0`.
        references: One for each batch size that the model takes.
        findings: What was wrong with variables and graph before they were frozen; `site` is None
            or the name of the batch norm in the framework.
        variables: Variables of batch norms.
        notes: What was done to the graph, and what was left out.
        judged: Site id in the ONNX model -> codes of findings that the front end alone can judge:
            it knows more of that batch norm than the file tells. Under these codes a check of the
            file repeats what `findings` say, or guesses what they know better.
    """

    path: Path
    kind: Kind
    framework: str
    references: tuple[Reference, ...]
    findings: tuple[Finding, ...] = ()
    variables: tuple[Variable, ...] = ()
    notes: tuple[str, ...] = ()
    judged: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
