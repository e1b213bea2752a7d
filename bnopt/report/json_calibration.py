"""Old and new statistics of each batch norm as JSON, and how the new ones were measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bnopt.evidence import Recalibrated, Uncalibrated
from bnopt.report.json_proof import validation_report
from bnopt.results import CalibrateResult

Report = dict[str, Any]


def calibration_report(result: CalibrateResult) -> Report:
    """A calibration without what all commands have in common."""
    return {
        "layers": [_layer(layer) for layer in result.layers],
        "kept": [_kept(kept) for kept in result.kept],
        "method": result.method,
        "engine": result.engine,
        "provider": result.provider,
        "samples": result.samples,
        "batch_size": result.batch_size,
        "seed": result.seed,
        "passes": result.passes,
        "resumed": result.resumed,
        "validation": validation_report(result.proof),
        "seconds": asdict(result.timings),
        "notes": list(result.notes),
    }


def _layer(layer: Recalibrated) -> Report:
    return {
        "site": layer.site,
        "name": layer.name,
        "form": layer.form,
        "channels": len(layer.mean),
        "depth": layer.depth,
        "count": layer.count,
        "epsilon": layer.epsilon,
        "old_mean": layer.old_mean,
        "old_variance": layer.old_variance,
        "mean": layer.mean,
        "variance": layer.variance,
        "gamma": layer.gamma,
        "beta": layer.beta,
        "shift": layer.shift,
        "ratio": layer.ratio,
        "off": layer.off,
    }


def _kept(kept: Uncalibrated) -> Report:
    return {
        "site": kept.site,
        "name": kept.name,
        "form": kept.form,
        "reason": kept.reason,
        "message": kept.message,
    }
