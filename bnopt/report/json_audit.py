"""What an audit rests on, as JSON: causes, the numbers of each batch norm, behaviour."""

from __future__ import annotations

from typing import Any

from bnopt.evidence import Behaviour, Measured, Statistics
from bnopt.findings import Cause

Report = dict[str, Any]


def cause_report(cause: Cause) -> Report:
    """A cause; its findings are those with the same code."""
    return {
        "code": cause.code,
        "severity": cause.severity,
        "found": cause.found,
        "of": cause.of,
        "message": cause.message,
        "fix": cause.fix,
    }


def statistics_report(statistics: Statistics) -> Report:
    """The numbers of one batch norm, a list with one number for each channel; null if unknown."""
    return {
        "site": statistics.site,
        "gamma": statistics.gamma,
        "beta": statistics.beta,
        "mean": statistics.mean,
        "variance": statistics.variance,
        "epsilon": statistics.epsilon,
        "scale": statistics.scale,
        "measured": _measured(statistics.measured),
        "verdict": statistics.verdict or None,
    }


def behaviour_report(behaviour: Behaviour | None) -> Report | None:
    """How the outputs depend on the batch; null if the model was not run."""
    if behaviour is None:
        return None
    return {
        "batch": behaviour.batch,
        "outputs": [
            {
                "name": output.name,
                "per_sample": output.per_sample,
                "noise": output.noise,
                "alone": output.alone,
                "neighbours": output.neighbours,
                "spread": output.spread,
            }
            for output in behaviour.outputs
        ],
        "notes": list(behaviour.notes),
    }


def _measured(measured: Measured | None) -> Report | None:
    if measured is None:
        return None
    return {
        "samples": measured.samples,
        "count": measured.count,
        "mean": measured.mean,
        "variance": measured.variance,
    }
