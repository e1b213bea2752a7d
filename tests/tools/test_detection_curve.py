"""tools/detection_curve.py: its tables, its plot, a check of small models, and real training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import detection_curve
import numpy as np
import onnx
import pytest
from _command import in_children
from _detection_report import Snapshot, gravest, limits, page, summarise, table, verdicts
from graphs import conv_bn, normal
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "detection_curve.py"


def snapshot(
    step: int, seed: int = 0, *, without: str = "", with_data: str = "", loss: float = 0.0
) -> Snapshot:
    """At decay 0.9, with one finding where a severity is given."""
    return Snapshot(
        0.9,
        seed,
        step,
        off=0.5,
        accuracy=0.9 - loss,
        exact=0.9,
        without={"barely-updated": without} if without else {},
        with_data={"stale-statistics": with_data} if with_data else {},
    )


SNAPSHOTS = [
    snapshot(0, 0, without="error", with_data="error", loss=0.5),
    snapshot(0, 1, without="error", with_data="error", loss=0.5),
    snapshot(10, 0, without="warning", with_data="error", loss=0.3),
    snapshot(10, 1, with_data="warning", loss=0.4),
    snapshot(100, 0),
    snapshot(100, 1, with_data="warning"),
]


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_infos_do_not_count_and_the_gravest_stands_for_its_code() -> None:
    found = [("a", "info"), ("b", "warning"), ("b", "error"), ("b", "warning"), ("c", "warning")]
    assert gravest(found) == {"b": "error", "c": "warning"}


def test_a_row_counts_seeds_and_names_the_gravest() -> None:
    header, lines = table(summarise(SNAPSHOTS))
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert [row["steps"] for row in rows] == ["0", "10", "100"]
    assert [row["no data"] for row in rows] == ["2/2 error", "1/2 warning", "0/2"]
    assert [row["64 images"] for row in rows] == ["2/2 error", "2/2 error", "1/2 warning"]
    assert rows[1]["residue"] == "0.349"
    assert rows[1]["accuracy"] == "55.0%"
    assert rows[1]["rules"] == "barely-updated, stale-statistics"


def test_the_limit_is_the_last_step_before_any_seed_is_missed() -> None:
    header, lines = limits(summarise(SNAPSHOTS))
    without, with_data = (dict(zip(header, line, strict=True)) for line in lines)
    assert (without["all caught to"], without["residue"]) == ("step 0", "1.000")
    assert without["worst loss missed"] == "40.0 points"
    assert (with_data["all caught to"], with_data["n (1 - d)"]) == ("step 10", "1")
    assert with_data["worst loss missed"] == "0.0 points"


def test_a_limit_where_nothing_or_everything_is_caught() -> None:
    _, (without, with_data) = limits(summarise([snapshot(0, with_data="error")]))
    assert without[2:] == ("-", "-", "-", "0.0 points")
    assert with_data[2:] == ("step 0", "0", "1.000", "nothing missed")


def test_verdicts_part_broken_from_sound() -> None:
    broken, sound = verdicts(SNAPSHOTS)
    assert broken.startswith("- Of 4 snapshots")
    assert "3 are reported without data (2 as errors)" in broken
    assert "4 are reported with 64 images (3 as errors)" in broken
    assert sound.startswith("- Of 2 snapshots")
    assert "0 are reported without data (0 as errors)" in sound
    assert "1 are reported with 64 images (0 as errors)" in sound


def test_the_page_holds_all_tables() -> None:
    text = page(SNAPSHOTS, summarise(SNAPSHOTS))
    assert "Seeds for each decay: 2; snapshots after\neach number of steps: 6" in text
    assert "(detection.svg)" in text
    assert "| 0.9 | 10 | 0.349 |" in text


def test_the_plot_is_the_same_each_time_and_has_dark_colours() -> None:
    pytest.importorskip("matplotlib")
    from _detection_plot import DARK, draw

    rows = summarise(SNAPSHOTS)
    drawing = draw(rows)
    assert drawing == draw(rows)
    ElementTree.fromstring(drawing)
    assert "caught without data" in drawing
    body = drawing.partition("</style>")[2]
    for light, dark in DARK.items():
        # The style sheet finds colours by the very text that matplotlib writes.
        assert f"fill: {light}" in body or f"stroke: {light}" in body
        assert f'[style*="stroke: {light}"]{{stroke:{dark} !important}}' in drawing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--check-only",), "error: no snapshots in "),
        (("--seeds", "0"), "error: --seeds and --jobs are at least 1"),
        (("--check-only", "--docs", "nowhere"), "error: no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run(*options, "--store", tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_models_in_a_store_are_checked_without_and_with_data(tmp_path: Path) -> None:
    """At step 0 the first statistics, at step 60 those of the data."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "one"
    folder.mkdir()
    np.savez(folder / "samples.npz", x=normal(64, 3, 8, 8) + np.float32(1))
    weights = normal(4, 3, 3, 3, seed=2)
    initial = {"m": np.zeros(4, np.float32), "v": np.ones(4, np.float32)}
    # What a sum of weights times independent numbers of mean 1 and variance 1 has.
    axes = (1, 2, 3)
    true = {"m": weights.sum(axis=axes), "v": np.square(weights).sum(axis=axes)}
    for step, values in ((0, initial), (60, true)):
        onnx.save(conv_bn(W=weights, **values), folder / f"{step}.onnx")
    stored = [
        {"decay": 0.9, "seed": 0, "step": step, "off": 0.0, "accuracy": 0.1, "exact": 0.1}
        for step in (0, 60)
    ]
    (folder / "run.json").write_text(json.dumps(stored))
    done = run("--check-only", "--store", tmp_path, "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    first, last = done.stdout.splitlines()[2:4]
    assert "never-updated" in first
    assert "stale-statistics" in first
    assert last.split()[-2:] == ["0/1", "0/1"]


@pytest.mark.slow
def test_training_leaves_the_residue_that_the_formula_says(tmp_path: Path) -> None:
    for name in detection_curve.TRAINING:
        pytest.importorskip(name)
    folder = tmp_path / "run"
    job = {"folder": str(folder), "decay": 0.9, "seed": 0, "steps": [0, 1, 10, 100]}
    in_children(str(TOOL), "train", [job], workers=1, timeout=detection_curve.TIMEOUT)
    stored = json.loads((folder / "run.json").read_text())
    assert np.load(folder / "samples.npz")["image"].shape == (64, 8, 8, 1)
    for step in (0, 1, 10, 100):
        proto = onnx.load(folder / f"{step}.onnx")
        onnx.checker.check_model(proto, full_check=True)
        weights = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        norms = [node for node in proto.graph.node if node.op_type == "BatchNormalization"]
        assert len(norms) == 4
        means, variances = ([weights[node.input[i]] for node in norms] for i in (3, 4))
        residue = 0.9**step
        assert all((variance >= residue * (1 - 1e-5)).all() for variance in variances)
        # The first layer sees pixels between 0 and 1: its own variances are far below 1.
        assert variances[0].min() == pytest.approx(residue, abs=0.02)
        assert all(mean.any() for mean in means) == (step > 0)
    assert [one["step"] for one in stored] == [0, 1, 10, 100]
    assert stored[-1]["accuracy"] > 0.9
    assert stored[2]["exact"] - stored[2]["accuracy"] > 0.1
    assert stored[0]["off"] > stored[2]["off"] > stored[3]["off"]


@pytest.mark.slow
def test_the_error_of_statistics_is_that_of_normalised_values() -> None:
    for name in detection_curve.TRAINING:
        pytest.importorskip(name)
    from _tf_digits import EPSILON, Moments

    x = normal(100_000).astype(np.float64) * 2 + 3
    exact = Moments((np.array([x.mean()]),), (np.array([x.var()]),))
    stored = Moments((np.array([1.0]),), (np.array([9.0]),))
    difference = (x - 1) / np.sqrt(9 + EPSILON) - (x - x.mean()) / np.sqrt(x.var() + EPSILON)
    assert stored.error(exact) == pytest.approx(np.sqrt(np.mean(difference**2)))
    assert exact.error(exact) == 0
