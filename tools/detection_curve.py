"""At which step is a half-converged batch norm caught? Train in TensorFlow, export, check.

    python tools/detection_curve.py [--store FOLDER] [--check-only] [--docs FOLDER] [--seeds N]

A small network learns digits with each decay and seed. After each number of steps it is exported,
so that its moving statistics hold a known residue d^n of their initial values. Each snapshot is
checked without data and with 64 images. The columns of the table that is printed:

    steps      n, the batches seen so far
    residue    d^n, the share of the initial mean 0 and variance 1 that is left
    off by     how far the moving statistics put normalised values off, in standard deviations
    accuracy   test accuracy with the moving statistics
    exact      the same weights with the exact statistics of all training images
    no data    seeds of which `bnopt check` says that the statistics are not the data's
    64 images  the same with `--data`; behind both, the gravest severity
    rules      what these findings were, without data first

With --docs FOLDER, detection.md and detection.svg are written there. Training needs TensorFlow:
`make detection` installs it into a venv of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import _detection_report
import _process
import _tables
from _command import fail, in_children, require
from _detection_report import DATA_CODES, STATIC_CODES, Snapshot

from bnopt.errors import BnoptError
from bnopt.rules import check_codes

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / ".out" / "detection"
DECAYS = (0.9, 0.99, 0.999)
STEPS = (0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 3000, 5000, 10000)
SPAN = 12.0
"""Time constants 1 / (1 - d) after which nothing is left to see: e^-12 is 6e-6."""

SAMPLES = 64
TRAINING = ("tensorflow", "tf_keras", "tf2onnx", "sklearn")
PACKAGES = "'bnopt[cpu,tensorflow]' scikit-learn matplotlib"
TIMEOUT = 1800.0


def steps_of(decay: float) -> list[int]:
    return [step for step in STEPS if step * (1 - decay) <= SPAN + 1e-9]


def train(job: _process.Job) -> _process.Job:
    """Train one network; write a snapshot after each number of steps, then what they are worth."""
    import numpy as np
    from _tf_digits import INPUT, Digits, Network

    folder, decay, seed = Path(job["folder"]), job["decay"], job["seed"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").unlink(missing_ok=True)
    data = Digits.load()
    chosen = np.random.default_rng(seed).choice(len(data.train_x), SAMPLES, replace=False)
    np.savez(folder / "samples.npz", **{INPUT: data.train_x[chosen]})
    network = Network(data, decay=decay, seed=seed)
    snapshots = []
    for step in job["steps"]:
        network.train_to(step)
        exact = network.exact()
        network.export(folder / f"{step}.onnx")
        snapshots.append(
            {
                "decay": decay,
                "seed": seed,
                "step": step,
                "off": network.moving().error(exact),
                "accuracy": network.accuracy(),
                "exact": network.accuracy(exact),
            }
        )
    # Last: a folder that has it is complete.
    (folder / "run.json").write_text(json.dumps(snapshots, indent=1), encoding="utf-8")
    return {}


def check(job: _process.Job) -> _process.Job:
    """What `bnopt check` says of every snapshot of one network, without data and with it."""
    import bnopt

    folder = Path(job["folder"])
    snapshots = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for snapshot in snapshots:
        model = folder / f"{snapshot['step']}.onnx"
        for name, data, codes in (
            ("without", None, STATIC_CODES),
            ("with_data", folder / "samples.npz", (*STATIC_CODES, *DATA_CODES)),
        ):
            found = bnopt.check(model, data=data, run=False, select=codes).findings
            snapshot[name] = _detection_report.gravest((f.code, f.severity) for f in found)
    return {"snapshots": snapshots}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the snapshots")
    parser.add_argument("--seeds", type=int, default=3, help="networks for each decay")
    parser.add_argument("--jobs", type=int, default=2, help="networks at a time")
    parser.add_argument(
        "--check-only", action="store_true", help="check the snapshots that are in the store"
    )
    parser.add_argument(
        "--docs", type=Path, metavar="FOLDER", help="write detection.md and detection.svg there"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    chosen = options()
    if chosen.job:
        tasks = {"train": train, "check": check}
        _process.serve(chosen.job, lambda job: tasks[job["task"]](job))
        return 0
    if chosen.seeds < 1 or chosen.jobs < 1:
        fail("--seeds and --jobs are at least 1")
    if chosen.docs and not chosen.docs.is_dir():
        fail(f"no folder {chosen.docs}")
    needed = (() if chosen.check_only else TRAINING) + (("matplotlib",) if chosen.docs else ())
    require(needed, "detection", PACKAGES)
    # First: without one of the rules the curve would be too low.
    check_codes((*STATIC_CODES, *DATA_CODES))
    children = partial(in_children, __file__, workers=chosen.jobs, timeout=TIMEOUT)
    runs = sorted(str(path.parent) for path in chosen.store.glob("*/run.json"))
    if not chosen.check_only:
        jobs: list[_process.Job] = [
            {
                "folder": str(chosen.store / f"decay-{decay}-seed-{seed}"),
                "decay": decay,
                "seed": seed,
                "steps": steps_of(decay),
            }
            # The slowest decay takes the most steps, so it starts first.
            for decay in reversed(DECAYS)
            for seed in range(chosen.seeds)
        ]
        children("train", jobs)
        runs = [job["folder"] for job in jobs]
    if not runs:
        fail(f"no snapshots in {chosen.store}; run without --check-only")
    answers = children("check", [{"folder": run} for run in runs])
    snapshots = [Snapshot(**one) for answer in answers for one in answer["snapshots"]]
    rows = _detection_report.summarise(snapshots)
    print(_tables.text(*_detection_report.table(rows)))
    print()
    print(_tables.text(*_detection_report.limits(rows)))
    print("\n".join(["", *_detection_report.verdicts(snapshots)]))
    if chosen.docs:
        _detection_report.write(chosen.docs, snapshots, rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BnoptError as error:
        fail(error.message)
