"""Do the networks of keras.applications export, fold, and match Keras?

    python tools/keras_table.py [--only NAME] [--size N] [--markdown FILE]

Each network gets random weights and moving statistics as training would leave them (seeded), and
goes through `bnopt.export`. The columns of the table that is printed:

    batch norms    as found in the converted model
    left           what neither was folded nor became one with a neighbour, with the reasons
    batch 1, 8     largest |ONNX - Keras| over the largest |Keras|, of the folded model
    seconds        conversion, folding with its proof, and this comparison

The exit code is 1 if one fails or differs. Needs `bnopt[cpu,tensorflow]`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import _process
import _tables

NETWORKS = ("ResNet50", "MobileNetV2", "EfficientNetB0", "DenseNet121", "InceptionV3", "Xception")
TIMEOUT = 1800.0


@dataclass(frozen=True)
class Row:
    """One network."""

    name: str
    found: int = 0
    left: int = 0
    reasons: str = ""
    one: float = 0.0
    eight: float = 0.0
    ok: bool = False
    seconds: float = 0.0
    error: str = ""


def take(job: _process.Job) -> _process.Job:
    """Build, export and compare one network."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np

    import bnopt
    from bnopt.findings import Kept, Lowered

    start = time.perf_counter()
    size = job["size"]
    model = getattr(keras.applications, job["name"])(weights=None, input_shape=(size, size, 3))
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                low, high = (-0.3, 0.3) if variable.name in ("beta", "moving_mean") else (0.5, 1.5)
                variable.assign(random.uniform(low, high, variable.shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{job['name']}.keras"
        model.save(path)
        try:
            result = bnopt.export(path, output=Path(folder) / "out.onnx")
        except bnopt.BnoptError as error:
            return asdict(Row(job["name"], error=error.message))
    assert result.fold is not None
    sites = result.fold.sites
    left = [site.decision for site in sites if isinstance(site.decision, Kept | Lowered)]
    reasons = Counter(one.reason if isinstance(one, Kept) else one.into for one in left)
    errors = {one.batch: one.max_rel for one in result.agreement}
    return asdict(
        Row(
            job["name"],
            len(sites),
            len(left),
            ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()),
            errors.get(1, float("nan")),
            errors.get(8, float("nan")),
            result.ok,
            time.perf_counter() - start,
        )
    )


def table(rows: list[Row]) -> tuple[_tables.Row, list[_tables.Row]]:
    """Header and lines."""
    header = ("network", "batch norms", "left", "why", "batch 1", "batch 8", "seconds", "verdict")
    lines = [
        (row.name, "", "", row.error, "", "", "", "FAILED")
        if row.error
        else (
            row.name,
            str(row.found),
            str(row.left),
            row.reasons,
            f"{row.one:.1e}",
            f"{row.eight:.1e}",
            f"{row.seconds:.0f}",
            "ok" if row.ok else "DIFFERS",
        )
        for row in rows
    ]
    return header, lines


def page(rows: list[Row], size: int) -> str:
    """docs/keras.md."""
    sites, left = sum(row.found for row in rows), sum(row.left for row in rows)
    return f"""# keras.applications through `bnopt export`

Each network has random weights and moving statistics as training would leave them (seeded), is
saved as `.keras`, and exported with `bnopt export`; `batch 1` and `batch 8`: largest difference
between the folded ONNX model in onnxruntime and Keras, over Keras' largest output. Images of
{size} x {size}. Of {sites} batch norms {left} are left. Written by
`python tools/keras_table.py --markdown FILE`.

{_tables.markdown(*table(rows))}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=NETWORKS, help="repeatable")
    parser.add_argument("--size", type=int, default=96, help="of the images, at least 75")
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.job:
        _process.serve(chosen.job, take)
        return 0
    jobs: list[_process.Job] = [
        {"name": name, "size": chosen.size} for name in chosen.only or NETWORKS
    ]
    outcomes = _process.run_all(__file__, jobs, workers=chosen.jobs, timeout=TIMEOUT)
    rows = [
        Row(**outcome.result)
        if outcome.status == "ok"
        else Row(job["name"], error=f"{outcome.status}: {outcome.message}")
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]
    print(_tables.text(*table(rows)))
    if chosen.markdown:
        chosen.markdown.write_text(page(rows, chosen.size), encoding="utf-8")
    return int(not all(row.ok for row in rows))


if __name__ == "__main__":
    sys.exit(main())
