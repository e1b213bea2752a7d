"""Results with numbers made by hand, for the tests of the HTML report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from report_records import INFO, calibrate_result, with_causes

from bnopt.evidence import Behaviour, Measured, OutputBehaviour, Recalibrated, Statistics
from bnopt.findings import Cause, Finding, Folded, Kept, Site, Summary
from bnopt.results import CalibrateResult, CheckResult

CAUSE = "the update ops did not run with the train op"
FIX = "run the update ops with the train op, train on, and export again"


def site(number: int, channels: int = 64, name: str = "") -> Site:
    """Every fifth batch norm is kept, the others are folded."""
    kept = number % 5 == 4
    decision = (
        Kept("padding", f"Conv 'conv{number}' pads with zeros behind it")
        if kept
        else Folded(f"conv{number}", f"into the weight of Conv 'conv{number}'")
    )
    title = name or f"/stage{number // 4}/block{number % 4}/bn/BatchNormalization"
    return Site(f"main:y{number}", title, "batch_normalization", "main", channels, decision)


def statistics(
    number: int, channels: int = 64, *, stale: bool = False, measured: bool = True
) -> Statistics:
    """Numbers as training leaves them, and what was measured on 64 samples."""
    rng = np.random.default_rng(number)
    mean = rng.normal(0, 1 + number % 3, channels)
    variance = rng.lognormal(-1 - number % 5, 0.8, channels)
    real_mean = mean + rng.normal(0, 0.05, channels) * np.sqrt(variance)
    real_variance = variance * rng.lognormal(0, 0.08, channels)
    if stale:
        mean, variance = np.zeros(channels), np.ones(channels)
    gamma, beta = rng.normal(1, 0.2, channels), rng.normal(0, 0.5, channels)
    moments = Measured(64, 64 * 196, tuple(real_mean.tolist()), tuple(real_variance.tolist()))
    return Statistics(
        f"main:y{number}",
        tuple(gamma.tolist()),
        tuple(beta.tolist()),
        tuple(mean.tolist()),
        tuple(variance.tolist()),
        1e-3,
        tuple((gamma / np.sqrt(variance + 1e-3)).tolist()),
        moments if measured else None,
        ("stale" if stale else "consistent") if measured else "",
    )


def check_result(
    count: int = 6, channels: int = 64, *, stale: int = 0, measured: bool = True, **changes: object
) -> CheckResult:
    """A check of `count` batch norms of which the first `stale` were never updated."""
    sites = tuple(site(i, channels) for i in range(count))
    findings = tuple(
        Finding(
            "never-updated",
            "error",
            f"main:y{i}",
            f"mean 0 and variance 1 in all {channels} channels",
            FIX,
            {"channels": channels, "mean": 0.0, "variance": 1.0},
        )
        for i in range(stale)
    )
    causes = (
        (
            Cause(
                "never-updated",
                "error",
                stale,
                count,
                f"{stale} of {count} batch norms were never updated: {CAUSE}",
                FIX,
            ),
        )
        if stale
        else ()
    )
    folded = sum(isinstance(s.decision, Folded) for s in sites)
    made = CheckResult(
        info=INFO,
        sites=sites,
        summary=Summary(count, folded, 0, 0, count - folded),
        findings=findings,
        causes=causes,
        statistics=tuple(
            statistics(i, channels, stale=i < stale, measured=measured) for i in range(count)
        ),
        behaviour=Behaviour(4, (OutputBehaviour("y", True, 1e-7, 2e-7, 0.0, 0.8),)),
        samples=64 if measured else 0,
        seconds=1.25,
        notes=("the input 'is_training' was bound to False",),
    )
    changed = replace(made, **changes)
    return with_causes(changed) if "findings" in changes else changed


def recalibrated(
    number: int, channels: int = 64, *, state: str = "stale", name: str = ""
) -> Recalibrated:
    """Statistics that were `stale`, `right` before, or not there (`none`)."""
    rng = np.random.default_rng(number)
    mean = rng.normal(0, 1 + number % 3, channels)
    variance = rng.lognormal(-1 - number % 5, 0.8, channels)
    old_mean, old_variance = np.zeros(channels), np.ones(channels)
    if state == "right":
        old_mean, old_variance = mean * 1.001, variance * 1.002
    deviation = np.sqrt(variance + 1e-3)
    shift, ratio = (mean - old_mean) / deviation, np.sqrt(old_variance + 1e-3) / deviation
    off = float(np.sqrt(np.mean((1 / ratio - 1) ** 2 + (shift / ratio) ** 2)))
    stored = state != "none"
    return Recalibrated(
        site=f"main:y{number}",
        name=name or f"/stage{number // 4}/block{number % 4}/bn/BatchNormalization",
        form="batch_normalization" if stored else "batch_statistics",
        depth=number,
        count=500 * 196,
        epsilon=1e-3,
        old_mean=tuple(old_mean.tolist()) if stored else None,
        old_variance=tuple(old_variance.tolist()) if stored else None,
        mean=tuple(mean.tolist()),
        variance=tuple(variance.tolist()),
        gamma=tuple(rng.normal(1, 0.2, channels).tolist()),
        beta=None,
        shift=tuple(shift.tolist()) if stored else None,
        ratio=tuple(ratio.tolist()) if stored else None,
        off=off if stored else None,
    )


def calibration(
    count: int = 6, channels: int = 64, *, right: int = 0, none: int = 0, **changes: object
) -> CalibrateResult:
    """A calibration: first those that were `right`, then stale ones, then `none` stored."""
    states = ["right"] * right + ["stale"] * (count - right - none) + ["none"] * none
    layers = tuple(recalibrated(i, channels, state=state) for i, state in enumerate(states))
    return calibrate_result(**{"kept": (), "layers": layers, **changes})
