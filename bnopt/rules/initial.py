"""Which statistics still hold what the framework started them from.

| where the statistics are | what says that they never moved |
|---|---|
| parameters of the node | mean 0 and variance 1 in every channel; Caffe starts both from 0 |
| gone into `Mul` and `Add` | every factor is 1 / sqrt(1 + epsilon): gamma 1, variance 1 |
| gone into `Mul` alone | nothing is added, so beta - mean * scale is 0 in every channel |
| gone into a convolution | likewise: the bias is 0 in every channel, or there is none |

The last two count only where names say that it was a batch norm: a `Mul` of constants may be
anything, and a convolution without bias is common. One update by real data moves every channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnopt.rules.norms import Norm
from bnopt.rules.traces import Trace
from bnopt.rules.view import View

EPSILONS = (1e-2, 1e-3, 1e-4, 2e-5, 1e-5)
"""What frameworks and papers use, as far as 1 / sqrt(1 + epsilon) can be told from 1 in float32.

The 1.001e-5 of Keras' applications is 1e-5 to within the tolerance.
"""

_TOLERANCE = 1e-6
_NAMES = ("batchnorm", "batch_norm", "batchnormalization", "fusedbatchnorm")


@dataclass(frozen=True, slots=True)
class Initial:
    """What still holds its initial value at one site.

    Attributes:
        site: The site's id.
        mean: Whether the mean does; None if the model no longer says.
        variance: Likewise the variance.
        why: What shows it, for messages.
    """

    site: str
    mean: bool | None
    variance: bool | None
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether the model says anything about either."""
        return self.mean is not None or self.variance is not None

    @property
    def never(self) -> bool:
        """Whether neither was ever updated, as far as the model says."""
        return self.known and self.mean in (None, True) and self.variance in (None, True)

    @property
    def half(self) -> bool:
        """Whether one was updated and the other was not."""
        return None not in (self.mean, self.variance) and self.mean != self.variance


def initial_values(view: View) -> tuple[Initial, ...]:
    """What is known of every batch norm that an inference run uses, and of every trace."""
    found = [_of_norm(norm) for norm in view.live if norm.form != "batch_statistics"]
    return tuple(i for i in (*found, *map(_of_trace, view.traces)) if i.known)


def _of_norm(norm: Norm) -> Initial:
    if norm.mean is not None and norm.variance is not None:
        mean, variance = norm.mean, norm.variance
        zero = not mean.any()
        started = bool((variance == 1).all()) or (zero and not variance.any())
        start = 0 if variance.size and not variance.any() else 1
        return Initial(norm.site, zero, started, f"mean is 0 and variance {start} in every channel")
    if norm.form != "decomposed" or norm.scale is None or norm.shift is None:
        return Initial(norm.site, None, None)
    no_shift = not norm.shift.any()
    epsilon = unit_variance(norm.scale)
    if epsilon is not None:
        mean = True if no_shift else None
        why = f"every channel is multiplied by 1 / sqrt(1 + {epsilon:g}), so variance is 1"
        return Initial(norm.site, mean, True, why)
    if no_shift and says_batch_norm(norm.name):
        return Initial(norm.site, True, None, "nothing is added in any channel, so mean is 0")
    # What is known speaks against it only where a mean can be told from beta.
    if norm.mean is not None:
        return Initial(norm.site, not norm.mean.any(), None, "mean is 0 in every channel")
    return Initial(norm.site, None, None)


def _of_trace(trace: Trace) -> Initial:
    if trace.shift is None or trace.shift.any():
        return Initial(trace.site, None, None)
    why = f"the bias that '{trace.evidence}' should have got is 0 in every channel, so mean is 0"
    return Initial(trace.site, True, None, why)


def unit_variance(scale: npt.NDArray[np.float64]) -> float | None:
    """The epsilon with which every factor is 1 / sqrt(1 + epsilon); None if there is none."""
    for epsilon in EPSILONS:
        factor = 1 / np.sqrt(1 + epsilon)
        half = np.float16(factor)
        if np.allclose(scale, factor, rtol=_TOLERANCE, atol=0) or (
            half != 1 and (scale == float(half)).all()
        ):
            return epsilon
    return None


def says_batch_norm(name: str) -> bool:
    """Whether a node's name says that it belongs to a batch norm."""
    return any(word in name.lower() for word in _NAMES)


def share(count: int, of: int) -> float:
    """`count` in `of`; 0 of nothing is 0."""
    return count / of if of else 0.0
