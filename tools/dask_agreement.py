"""Calibrate on this machine and on dask workers, and print by how much the statistics differ.

Usage: python tools/dask_agreement.py [--workers N...] [MODEL DATA]

Both methods, any number of workers, and once with a worker that is killed midway. A difference is
relative: of means to the standard deviation, of variances to themselves. Exits with 1 if one is
above 1e-12 or a sample is not counted once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import _tables
import numpy as np

import bnopt
from bnopt.results import CalibrateResult, Method

MODELS = Path(__file__).resolve().parents[1] / "models"
ALLOWED = 1e-12


def difference(mine: CalibrateResult, theirs: CalibrateResult) -> float:
    worst = 0.0
    for one, other in zip(mine.layers, theirs.layers, strict=True):
        variance = np.array(other.variance)
        mean = np.abs(np.array(one.mean) - other.mean) / np.sqrt(variance + other.epsilon)
        spread = np.abs(np.array(one.variance) - variance) / (variance + other.epsilon)
        worst = max(worst, float(mean.max()), float(spread.max()))
    return worst


def kill_once() -> Callable[[str, int, int], None]:
    """A progress function that kills a worker of the local cluster after the first shard."""
    import psutil

    killed: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        if killed or not stage.startswith("measure") or not 0 < done < total:
            return
        # Nannies start their workers by multiprocessing; the processes beside them are bnopt's.
        for child in psutil.Process().children(recursive=True):
            if "spawn_main" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
                killed.append(child.pid)
                return

    return progress


def _engine(workers: int) -> str:
    return f"dask, {workers} worker{'s' if workers > 1 else ''}" if workers else "local"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=MODELS / "digits_cnn.onnx")
    parser.add_argument("data", nargs="?", default=MODELS / "digits_test.npz")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    rows: list[list[str]] = []
    bad = False
    methods: tuple[Method, ...] = ("precise", "sequential")
    for method in methods:
        local: CalibrateResult | None = None
        runs = [(count, False) for count in options.workers] + [(max(options.workers), True)]
        for workers, kill in [(0, False), *runs]:
            start = time.perf_counter()
            result = bnopt.calibrate(
                options.model,
                options.data,
                method=method,
                engine="dask" if workers else "local",
                workers=workers or None,
                batch_size=options.batch,
                progress=kill_once() if kill else None,
            )
            took = time.perf_counter() - start
            local = local or result
            worst = difference(result, local)
            counts = [one.count for one in result.layers] == [one.count for one in local.layers]
            bad |= worst > ALLOWED or not counts or result.samples != local.samples
            died = next((note for note in result.notes if "died" in note), "")
            rows.append(
                [
                    method,
                    _engine(workers),
                    "one" if kill else "",
                    str(result.samples),
                    f"{worst:.1e}" if worst else "0",
                    f"{took:.1f}",
                    died,
                ]
            )
    header = ["method", "engine", "killed", "samples", "difference", "seconds", "note"]
    print(_tables.text(header, rows))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
