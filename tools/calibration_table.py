"""Does calibration bring a broken network's accuracy back? Train in TensorFlow, break, calibrate.

    python tools/calibration_table.py [--store FOLDER] [--calibrate-only] [--markdown FILE]
                                      [--seeds N] [--jobs N]

For each mistake and seed a network learns digits twice, by a script with the mistake and by one
without: the same weights, of which one export is broken and one is proper. The broken one is
calibrated by each method from 500 unlabelled training images. All of them then read the test
images in onnxruntime, one at a time, in batches of 32, and all in one batch.

Printed are the medians, each seed, and how far calibrated networks are from the proper ones. The
exit code is 1 if the median of a mistake that is to be restored is more than 0.5 point below.
Single networks that are, by two of the 360 test images, are listed. With --markdown FILE this is
also written as a page. --calibrate-only takes the networks from the store, and so needs no
TensorFlow; `make calibration` installs that into a venv of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import _calibration_report as report
import _process
import _tables
import numpy as np
from _calibration_report import SAMPLES
from _command import fail, in_children, require
from _tf_scripts import MISTAKES

from bnopt.errors import BnoptError

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / ".out" / "calibration"
TRAINING = ("tensorflow", "tf_keras", "tf2onnx", "sklearn")
PACKAGES = "'bnopt[cpu,tensorflow]' scikit-learn"
SWITCH = "is_training"
DRAWS = 20
"""Of other samples, to see how much is luck."""

TIMEOUT = 1800.0


def train(job: _process.Job) -> _process.Job:
    """Train one network by both scripts; export it broken, proper, and with exact statistics."""
    from _tf_digits import INPUT, Digits, Network

    folder, seed = Path(job["folder"]), job["seed"]
    mistake = next(one for one in MISTAKES if one.name == job["mistake"])
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    data = Digits.load()
    unlabelled, *others = (
        data.train_x[np.random.default_rng((seed, draw)).permutation(len(data.train_x))[:SAMPLES]]
        for draw in range(1 + DRAWS)
    )
    np.savez(folder / "unlabelled.npz", **{INPUT: unlabelled})
    np.savez(folder / "test.npz", images=data.test_x, labels=data.test_y)
    broken, proper = (
        Network(
            data,
            decay=decay,
            seed=seed,
            learning_rate=mistake.learning_rate,
            batch=mistake.batch,
            script=script,
        )
        for script, decay in (
            (mistake.broken, mistake.broken_decay),
            (mistake.proper, mistake.decay),
        )
    )
    for network in (broken, proper):
        network.train_to(mistake.steps)
    weights, same = broken.weights(), proper.weights()
    if weights.keys() != same.keys() or any((weights[n] != same[n]).any() for n in weights):
        raise RuntimeError(f"{folder.name}: the two scripts did not train the same weights")
    broken.export(folder / "broken.onnx", tower=mistake.tower)
    proper.export(folder / "proper.onnx")
    proper.export(folder / "exact.onnx", statistics=proper.exact())
    told = {
        "mistake": mistake.name,
        "seed": seed,
        "by_hand": broken.accuracy(broken.settled(unlabelled)),
        "draws": [broken.accuracy(broken.settled(images)) for images in others],
    }
    for name in ("gamma", "beta"):
        values = [value for full, value in weights.items() if full.endswith(f"_bn/{name}:0")]
        if values:
            told[name] = [float(np.concatenate(values).min()), float(np.concatenate(values).max())]
    # Last: a folder that has it is complete.
    (folder / "run.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    return {}


def calibrate(job: _process.Job) -> _process.Job:
    """Calibrate the broken network by each method; what every network reads right."""
    import bnopt

    folder = Path(job["folder"])
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    mistake = next(one for one in MISTAKES if one.name == told["mistake"])
    bound = {SWITCH: False} if mistake.broken.switch else None
    for method in report.METHODS:
        bnopt.calibrate(
            folder / "broken.onnx",
            folder / "unlabelled.npz",
            method=method,
            samples=SAMPLES,
            seed=told["seed"],
            batch_size=report.BATCH,
            set_inputs=bound,
            output=folder / f"{method}.onnx",
        )
    with np.load(folder / "test.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    accuracy = {name: read(folder / f"{name}.onnx", images, labels) for name in report.NETWORKS}
    return {**told, "accuracy": accuracy}


def read(path: Path, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Share of the images that are read right in batches of each of `report.BATCHES`.

    A training switch that the model still has is on.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    switch = {SWITCH: np.array(True)} if SWITCH in names else {}
    image = next(name for name in names if name != SWITCH)
    shares = []
    for size in report.BATCHES:
        starts = range(0, len(images), size or len(images))
        batches = [images[start : start + (size or len(images))] for start in starts]
        answers = [session.run(None, {image: batch, **switch})[0] for batch in batches]
        shares.append(float((np.concatenate(answers).argmax(axis=1) == labels).mean()))
    return shares


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the networks")
    parser.add_argument("--seeds", type=int, default=3, help="networks for each mistake")
    parser.add_argument("--jobs", type=int, default=2, help="networks at a time")
    parser.add_argument(
        "--calibrate-only", action="store_true", help="calibrate the networks that are in the store"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    chosen = options()
    if chosen.job:
        tasks = {"train": train, "calibrate": calibrate}
        _process.serve(chosen.job, lambda job: tasks[job["task"]](job))
        return 0
    if chosen.seeds < 1 or chosen.jobs < 1:
        fail("--seeds and --jobs are at least 1")
    if chosen.markdown and not chosen.markdown.parent.is_dir():
        fail(f"no folder {chosen.markdown.parent}")
    require(() if chosen.calibrate_only else TRAINING, "calibration", PACKAGES)
    children = partial(in_children, __file__, workers=chosen.jobs, timeout=TIMEOUT)
    runs = sorted(str(path.parent) for path in chosen.store.glob("*/run.json"))
    if not chosen.calibrate_only:
        jobs: list[_process.Job] = [
            {
                "folder": str(chosen.store / f"{mistake.name}-seed-{seed}"),
                "mistake": mistake.name,
                "seed": seed,
            }
            for mistake in MISTAKES
            for seed in range(chosen.seeds)
        ]
        children("train", jobs)
        runs = [job["folder"] for job in jobs]
    if not runs:
        fail(f"no networks in {chosen.store}; run without --calibrate-only")
    answers = children("calibrate", [{"folder": run} for run in runs])
    found = [report.Run(**answer) for answer in answers]
    for header, lines in (report.summary(found), report.details(found)):
        print(_tables.text(header, lines), end="\n\n")
    print("\n".join(report.verdicts(found)))
    if chosen.markdown:
        chosen.markdown.write_text(report.page(found), encoding="utf-8")
    return int(bool(report.rows_lost(found)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BnoptError as error:
        fail(error.message)
