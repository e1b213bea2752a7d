"""A batch norm, and its moving statistics, as the checks see them."""

from __future__ import annotations

from dataclasses import dataclass

from bnopt.frontends.tensorflow.dataflow.norms import Norm
from bnopt.frontends.tensorflow.dataflow.sources import Gate, Source


@dataclass(frozen=True, slots=True)
class Layer:
    """A batch norm that the outputs depend on.

    Attributes:
        name: The scope of its variables, or its node.
        norm: How it is written.
        mean: Where its mean comes from.
        variance: Where its variance comes from.
        gates: Switches around it.
    """

    name: str
    norm: Norm
    mean: tuple[Source, ...]
    variance: tuple[Source, ...]
    gates: tuple[Gate, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Of both statistics."""
        return self.mean + self.variance


@dataclass(frozen=True, slots=True)
class Pair:
    """The moving statistics that a batch norm reads in inference, as far as they are known.

    Attributes:
        layer: Its name.
        mean: Name of the variable; None if it has none.
        variance: Likewise.
        mean_initial: Whether the mean still holds its initial value; None if not known.
        variance_initial: Likewise the variance.
    """

    layer: str
    mean: str | None
    variance: str | None
    mean_initial: bool | None
    variance_initial: bool | None

    @property
    def known(self) -> bool:
        """Whether both are."""
        return None not in (self.mean_initial, self.variance_initial)

    @property
    def never(self) -> bool:
        """Whether neither has moved."""
        return bool(self.mean_initial and self.variance_initial)
