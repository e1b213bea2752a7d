"""What is wrong with batch norms, from what only the module knows.

Codes and severities are those of `bnopt.rules`, and of `fast-average`, which is documented among
`bnopt.frontends.tensorflow.mistakes`. The exact part is how much of their initial value the
statistics still hold: the update

    s <- (1 - momentum) s + momentum s_batch          (torch.nn.BatchNorm2d)

leaves (1 - momentum)^n of it after n batches, and `num_batches_tracked` is n.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from bnopt.findings import Finding, Severity
from bnopt.frontends.records import Variable
from bnopt.frontends.torch.norms import Array, TorchNorm

_ROLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_WORDS = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
_MAX_LISTED = 16

# As in the rule `barely-updated`.
_SMALLEST = 0.01
_LARGE = 0.2
# bfloat16 keeps 8 bits of a variance.
_ROUNDING = 4e-3
# As in the mistake `fast-average`.
_FAST = 0.5


def findings(
    norms: Sequence[TorchNorm], *, to_eval: bool = False, batch_normalizing: Collection[str] = ()
) -> list[Finding]:
    """Findings for batch norms, the gravest code first, in the order of the module.

    Args:
        norms: The batch norms.
        to_eval: Whether those in training mode are to be put into evaluation mode, so that it is
            no mistake that they are not.
        batch_normalizing: Parts that have normalised by the batch in evaluation mode.
    """
    return [
        *_non_finite(norms),
        *_training_in_forward(norms, batch_normalizing),
        *_training_mode(norms, to_eval=to_eval),
        *_batch_statistics(norms),
        *_never_updated(norms),
        *_barely_updated(norms),
        *_fast_average(norms),
    ]


def judged(norm: TorchNorm) -> frozenset[str]:
    """Codes that the module settles, whether there is a finding or not.

    The numbers themselves are the same in the exported model. How many updates made them is exact
    here, and an estimate there.
    """
    settled = frozenset({"non-finite", "never-updated"})
    history = frozenset({"one-step", "barely-updated"})
    return settled | history if _started_from_one(norm) else settled


def variables(norms: Iterable[TorchNorm]) -> tuple[Variable, ...]:
    """A record for each parameter and buffer of the batch norms."""
    found: list[Variable] = []
    for norm in norms:
        for name, numbers in norm.parameters.items():
            start = 1.0 if name in ("weight", "running_var") else 0.0
            found.append(
                Variable(
                    f"{norm.name}.{name}",
                    _ROLES[name],
                    numbers.shape,
                    bool((numbers == start).all()),
                    float(numbers.min(initial=np.inf)),
                    float(numbers.max(initial=-np.inf)),
                )
            )
        if norm.batches is not None:
            name, count = f"{norm.name}.num_batches_tracked", float(norm.batches)
            found.append(Variable(name, "steps", (), norm.batches == 0, count, count))
    return tuple(found)


def notes(norms: Iterable[TorchNorm]) -> list[str]:
    """What is no mistake, but explains others."""
    every = list(norms)
    texts = {
        "frozen (no gradient, evaluation mode), others of the module are not": [
            norm.name for norm in every if norm.frozen
        ],
        "never run in evaluation mode": [norm.name for norm in every if norm.called is False],
    }
    return [
        f"{len(names)} of {len(every)} batch norms are {text}: {_listed(names)}"
        for text, names in texts.items()
        if names
    ]


def _non_finite(norms: Sequence[TorchNorm]) -> Iterator[Finding]:
    fix = "go back to a checkpoint with finite statistics, or estimate them anew from data"
    for norm in norms:
        for name, numbers in norm.parameters.items():
            bad = np.flatnonzero(~np.isfinite(numbers))
            if not bad.size:
                continue
            more = f" and {bad.size - 1} more" if bad.size > 1 else ""
            message = f"the {_WORDS[name]} ({name}) is {numbers[bad[0]]} in channel {bad[0]}{more}"
            evidence: dict[str, object] = {
                "parameter": _WORDS[name],
                "channels": [int(channel) for channel in bad[:_MAX_LISTED]],
            }
            yield Finding("non-finite", _severity(norm), norm.name, message, fix, evidence)
            break


def _training_in_forward(norms: Sequence[TorchNorm], calling: Collection[str]) -> Iterator[Finding]:
    """What `eval` does not change: the module computes it, and the export cannot."""
    after = "so that the module normalises by the batch it is given, after eval() too"
    put = [norm.name for norm in norms if norm.put_in_training and _has_modes(norm)]
    for name in put:
        message = f"forward() puts it into training mode, {after}"
        fix = "do not call train() in forward(), look at what the module computes then, and export"
        yield Finding("training-mode", "error", name, message, fix)
    for name in sorted({*calling} - {*put}):
        message = f"forward() calls batch_norm with training=True, {after}"
        fix = "pass training=self.training, look at what the module computes then, and export"
        yield Finding("training-mode", "error", name, message, fix)


def _training_mode(norms: Sequence[TorchNorm], *, to_eval: bool) -> Iterator[Finding]:
    message = (
        "training is True, so that the module normalises by the batch it is given; "
        "the export is made in evaluation mode"
    )
    fix = (
        "call model.eval() before the export, and look at what the model computes then; or export "
        "with training_mode='eval'"
    )
    for norm in norms:
        if norm.training and _has_modes(norm) and not norm.put_in_training:
            severity = "info" if to_eval else _severity(norm)
            yield Finding("training-mode", severity, norm.name, message, "" if to_eval else fix)


def _batch_statistics(norms: Sequence[TorchNorm]) -> Iterator[Finding]:
    message = (
        "it has no moving statistics (track_running_stats=False), so that it normalises by the "
        "batch it is given, after eval() too"
    )
    fix = "train with track_running_stats=True, which eval() then uses"
    for norm in norms:
        if norm.mean is None or norm.variance is None:
            yield Finding("batch-statistics", _severity(norm), norm.name, message, fix)


def _never_updated(norms: Sequence[TorchNorm]) -> Iterator[Finding]:
    known = _in_use(norms)
    found = [norm for norm in norms if _initial(norm)]
    harmful = [norm for norm in found if norm.called is not False]
    severity = _grave(len(harmful), len(known))
    fix = (
        "train in model.train(), or load the checkpoint with its buffers (strict=True), and "
        "export again"
    )
    for norm in found:
        assert norm.variance is not None
        message = f"mean is 0 and variance {norm.variance[0]:g} in every channel"
        if norm.batches == 0:
            message += ", and num_batches_tracked is 0"
        elif norm.batches is not None:
            message += f", although num_batches_tracked is {norm.batches}"
        evidence: dict[str, object] = {
            "updated": len(known) - len(harmful),
            "known": len(known),
            "batches": norm.batches,
            "frozen": norm.frozen,
        }
        yield Finding("never-updated", _severity(norm, severity), norm.name, message, fix, evidence)


def _barely_updated(norms: Sequence[TorchNorm]) -> Iterator[Finding]:
    known = _in_use(norms)
    found = [(norm, residue) for norm in norms if (residue := _residue(norm)) >= _SMALLEST]
    large = [norm for norm, residue in found if residue >= _LARGE and norm.called is not False]
    severity = _grave(len(large), len(known))
    fix = "train on, or with a larger momentum (0.1 is the default), and export again"
    for norm, residue in found:
        batches = "1 batch" if norm.batches == 1 else f"{norm.batches} batches"
        message = (
            f"{residue:.3g} of the initial mean and variance is left, after {batches} with a "
            f"momentum of {norm.momentum:g}"
        )
        evidence: dict[str, object] = {
            "residue": residue,
            "batches": norm.batches,
            "momentum": norm.momentum,
        }
        grave = severity if residue >= _LARGE else "warning"
        yield Finding("barely-updated", _severity(norm, grave), norm.name, message, fix, evidence)


def _fast_average(norms: Sequence[TorchNorm]) -> Iterator[Finding]:
    fix = (
        "PyTorch's momentum is 1 - the decay that Keras calls so: 0.1 or 0.01, and train again; or "
        "estimate the statistics from data"
    )
    for norm in norms:
        # One batch alone has no better average.
        if norm.momentum is None or norm.momentum < _FAST or (norm.batches or 0) < 2:
            continue
        if norm.frozen or norm.mean is None or _initial(norm):
            continue
        # Weights m (1 - m)^k are worth 1 / sum of their squares, which is (2 - m) / m (Kish).
        worth = (2 - norm.momentum) / norm.momentum
        message = (
            f"the averages hold little more than the last batch: a momentum of {norm.momentum:g} "
            f"is a decay of {1 - norm.momentum:g}, and leaves them as noisy as the plain average "
            f"of {worth:.2g} of the {norm.batches} batches"
        )
        evidence: dict[str, object] = {"momentum": norm.momentum, "batches": norm.batches}
        yield Finding("fast-average", "warning", norm.name, message, fix, evidence)


def _residue(norm: TorchNorm) -> float:
    """How much of the initial statistics is left; 0 where that is nothing, or not known."""
    return _left(norm) if _started_from_one(norm) and not _initial(norm) else 0.0


def _left(norm: TorchNorm) -> float:
    """The part of its start that a moving average keeps after the batches that were counted."""
    assert norm.momentum is not None
    assert norm.batches is not None
    return (1 - norm.momentum) ** norm.batches


def _started_from_one(norm: TorchNorm) -> bool:
    """Whether the batches that were counted account for the statistics."""
    variance = norm.variance
    if not norm.batches or norm.momentum is None or not 0 < norm.momentum < 1:
        return False
    # A variance below the residue did not start from 1: the statistics came from elsewhere, and
    # what was counted since says nothing about them.
    return (
        norm.mean is not None
        and variance is not None
        and variance.size > 0
        and float(variance.min()) >= _left(norm) * (1 - _ROUNDING)
    )


def _initial(norm: TorchNorm) -> bool:
    mean, variance = norm.mean, norm.variance
    if mean is None or variance is None or not variance.size or mean.any():
        return False
    return _all(variance, 1.0) or _all(variance, 0.0)


def _has_modes(norm: TorchNorm) -> bool:
    """Whether training mode is known to change it; without moving statistics it does not."""
    return norm.mean is not None and norm.kind != "other"


def _all(numbers: Array, value: float) -> bool:
    return bool((numbers == value).all())


def _in_use(norms: Sequence[TorchNorm]) -> list[TorchNorm]:
    """Those with moving statistics that an inference run uses, as far as that is known."""
    return [norm for norm in norms if norm.mean is not None and norm.called is not False]


def _grave(count: int, of: int) -> Severity:
    return "error" if of and count / of > 0.5 else "warning"


def _severity(norm: TorchNorm, severity: Severity = "error") -> Severity:
    """What inference does not run can do no harm there."""
    return "warning" if norm.called is False else severity


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
