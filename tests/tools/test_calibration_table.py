"""tools/calibration_table.py: tables and verdicts, calibrating small models, and real training."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import calibration_table
import numpy as np
import onnx
import pytest
from _calibration_report import Run, details, failures, page, rows_lost, summary, verdicts
from _command import in_children
from _tf_scripts import MISTAKES, Mistake, Script
from graphs import model
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "calibration_table.py"


def run_of(
    mistake: str = "never-updated",
    seed: int = 0,
    *,
    broken: tuple[float, ...] = (0.4, 0.4, 0.4),
    precise: tuple[float, ...] = (0.95, 0.95, 0.95),
    sequential: tuple[float, ...] = (0.95, 0.95, 0.95),
) -> Run:
    """With a proper accuracy of 95 % and, put in by hand, 94 %."""
    accuracy = {
        "broken": list(broken),
        "precise": list(precise),
        "sequential": list(sequential),
        "proper": [0.95] * 3,
        "exact": [0.96] * 3,
    }
    return Run(mistake, seed, accuracy, by_hand=0.94, gamma=(0.9, 1.3), beta=(-0.2, 0.1))


def tool(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def rows(table: tuple) -> list[dict[str, str]]:
    header, lines = table
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_a_row_shows_medians_and_the_worst_and_best_difference() -> None:
    runs = [
        run_of(seed=0, precise=(0.947, 0.947, 0.948)),
        run_of(seed=1, broken=(0.5, 0.5, 0.5)),
        run_of(seed=2, broken=(0.6, 0.6, 0.6), sequential=(0.953, 0.95, 0.95)),
    ]
    (row,) = rows(summary(runs))
    assert row["mistake"] == "update ops never run"
    assert row["broken"] == "50.0"
    assert (row["proper"], row["exact"]) == ("95.0", "96.0")
    assert row["precise off"] == "0.00 / -0.30 / 0.00"
    assert row["sequential off"] == "0.00 / 0.00 / +0.30"


def test_accuracies_that_depend_on_the_batch_stand_side_by_side() -> None:
    (row,) = rows(details([run_of("training-fused", 4, broken=(0.1, 0.93, 0.95))]))
    assert row["broken"] == "10.0 / 93.0 / 95.0"
    assert (row["seed"], row["precise"], row["by hand"]) == ("4", "95.0", "94.0")


def test_rows_stand_in_the_order_of_the_mistakes_and_of_the_seeds() -> None:
    order = [("other-scope", 0), ("slow-decay", 1), ("slow-decay", 0), ("never-updated", 2)]
    found = rows(details([run_of(*one) for one in order]))
    assert [(row["mistake"][:5], row["seed"]) for row in found] == [
        ("updat", "2"),
        ("decay", "0"),
        ("decay", "1"),
        ("wrong", "0"),
    ]


@pytest.mark.parametrize("method", ["precise", "sequential"])
@pytest.mark.parametrize(
    ("shares", "fails"),
    [
        ((0.945, 0.945, 0.945), False),
        ((0.9449, 0.95, 0.95), True),
        ((0.95, 0.95, 0.9449), True),
        # More than half a point better is nothing lost.
        ((0.97, 0.97, 0.97), False),
    ],
)
def test_a_loss_of_more_than_half_a_point_fails(
    method: str, shares: tuple[float, ...], fails: bool
) -> None:
    found = failures([run_of(seed=7, **{method: shares})])
    assert bool(found) is fails
    assert all(f"seed 7: `{method}` is -0.51 points off" in line for line in found)


@pytest.mark.parametrize("method", ["precise", "sequential"])
def test_the_median_of_a_mistake_decides(method: str) -> None:
    bad = [run_of(seed=seed, **{method: (0.9, 0.9, 0.9)}) for seed in range(2)]
    assert rows_lost([*bad, run_of(seed=2)]) == [f"update ops never run: `{method}`"]
    assert rows_lost([bad[0], run_of(seed=1), run_of(seed=2)]) == []
    assert rows_lost([run_of("other-scope", **{method: (0.8, 0.8, 0.8)})]) == []


def test_what_lost_more_than_statistics_is_told_and_does_not_fail() -> None:
    better = run_of(seed=1, precise=(0.96, 0.95, 0.95))
    runs = [run_of(), better, run_of("other-scope", precise=(0.8, 0.8, 0.96))]
    assert failures(runs) == []
    said = verdicts(runs)
    assert said[0] == "- Wrong statistics only, 2 in all: broken, up to 55.0 points lost."
    assert (
        said[1] == "  - `precise`: 1 within 0.5 point of proper, 0 below, 1 above: 0.00 to +1.00."
    )
    assert said[2].startswith("  - `sequential`: 2 within 0.5 point of proper, 0 below, 0 above")
    assert said[3] == "- More lost than statistics, 1 in all: broken, up to 55.0 points lost."
    assert said[4].endswith(": 0 within 0.5 point of proper, 1 below, 0 above: -15.00 to +1.00.")


def test_other_draws_are_counted_apart() -> None:
    said = verdicts([replace(run_of(), draws=[0.95, 0.94, 0.9449, 0.945, 0.97])])
    assert said[3:] == [
        "  - By hand with other samples, 5 draws: 2 more than 0.5 point below: -1.00 to +2.00."
    ]


def test_a_network_that_is_not_restored_is_named() -> None:
    said = verdicts([run_of("slow-decay", 3, sequential=(0.94, 0.94, 0.94))])
    assert said[-1] == (
        "- More than 0.5 point below: decay 0.999, 50 steps, seed 3: "
        "`sequential` is -1.00 points off."
    )


def test_the_page_holds_both_tables_and_every_mistake() -> None:
    text = page([run_of(mistake.name, seed) for mistake in MISTAKES for seed in (0, 1)])
    assert "the median of 2 seeds" in text
    told = "gamma went from 0.90 to 1.30 in training and beta from -0.20 to 0.10"
    assert told in " ".join(text.split())
    for mistake in MISTAKES:
        assert f"| {mistake.what} | {mistake.how} |" in text
        assert f"| {mistake.what} | 1 | 40.0 |" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--calibrate-only",), "error: no networks in "),
        (("--seeds", "0"), "error: --seeds and --jobs are at least 1"),
        (("--calibrate-only", "--markdown", "nowhere/page.md"), "error: no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = tool(*options, "--store", tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


MEANS, DEVIATIONS = np.array([5.0, -3.0]), np.array([2.0, 0.5])
"""Of the two pixels of an image."""


def two_pixels(count: int, seed: int) -> np.ndarray:
    """Images (count, 2, 1, 1) of two pixels that, normalised, are clearly not the same."""
    drawn = np.random.default_rng(seed).normal(size=(4 * count, 2))
    drawn = drawn[np.abs(drawn[:, 0] - drawn[:, 1]) > 0.5][:count]
    return (drawn * DEVIATIONS + MEANS).astype(np.float32).reshape(count, 2, 1, 1)


def brighter(images: np.ndarray) -> np.ndarray:
    """Which pixel is the larger once both are normalised."""
    return ((images.reshape(-1, 2) - MEANS) / DEVIATIONS).argmax(axis=1)


def comparer(mean: object, variance: object, gamma: object = (1, 1)) -> onnx.ModelProto:
    """Its logits are the two pixels, each normalised by statistics of its own."""
    text = """g (float[N,2,1,1] image) => (float[N,2] logits) {
        y = BatchNormalization<epsilon = 0.001>(image, gamma, beta, mean, variance)
        logits = Flatten(y)
    }"""
    arrays = {"gamma": gamma, "beta": (0, 0), "mean": mean, "variance": variance}
    return model(text, **{name: np.array(array, np.float32) for name, array in arrays.items()})


def store(folder: Path, broken: onnx.ModelProto) -> Path:
    """A run as `train` leaves it; the properly exported network makes no mistake."""
    folder.mkdir()
    images = two_pixels(200, seed=2)
    np.savez(folder / "unlabelled.npz", image=two_pixels(500, seed=1))
    np.savez(folder / "test.npz", images=images, labels=brighter(images))
    proper = comparer(MEANS, DEVIATIONS**2)
    for name, proto in (("broken", broken), ("proper", proper), ("exact", proper)):
        onnx.save(proto, folder / f"{name}.onnx")
    told = {"mistake": "never-updated", "seed": 0, "by_hand": 1.0}
    (folder / "run.json").write_text(json.dumps(told))
    return folder


def test_networks_of_a_store_are_calibrated_and_written_about(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = store(tmp_path / "one", comparer((0, 0), (1, 1)))
    done = tool("--calibrate-only", "--store", tmp_path, "--markdown", tmp_path / "page.md")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = done.stdout.splitlines()[2].split("  ")
    assert [cell.strip() for cell in cells if cell][2:6] == ["100.0"] * 4
    assert "| update ops never run |" in (tmp_path / "page.md").read_text()
    pixels = np.load(folder / "unlabelled.npz")["image"].reshape(-1, 2).astype(np.float64)
    for method in ("precise", "sequential"):
        mean, variance = norms(folder / f"{method}.onnx")[0]
        np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(variance, pixels.var(axis=0), rtol=1e-6)


def test_the_tool_fails_where_statistics_do_not_help(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    store(tmp_path / "one", comparer((0, 0), (1, 1), gamma=(-1, -1)))
    done = tool("--calibrate-only", "--store", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        "More than 0.5 point below: update ops never run, seed 0: `precise` is -100.00 points"
        in done.stdout
    )


def test_accuracy_is_measured_in_batches_and_with_the_switch_on(tmp_path: Path) -> None:
    """A network in training mode normalises a lone image to zeros, and so says 0 of each."""
    pytest.importorskip("onnxruntime")
    text = """g (float[N,2,1,1] image, bool is_training) => (float[N,2] logits) {
        m = ReduceMean<axes = [0, 2, 3]>(image)
        d = Sub(image, m)
        off = Cast<to = 1>(is_training)
        centred = Mul(d, off)
        logits = Flatten(centred)
    }"""
    path = tmp_path / "switch.onnx"
    onnx.save(model(text), path)
    images = two_pixels(70, seed=4)
    labels = (images - images.mean(axis=0)).reshape(-1, 2).argmax(axis=1)
    alone, some, every = calibration_table.read(path, images, labels)
    assert alone == pytest.approx((labels == 0).mean())
    assert alone < some < every == 1


def norms(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each batch norm of a model."""
    graph = onnx.load(path).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "BatchNormalization"]
    return [(weights[node.input[3]], weights[node.input[4]]) for node in nodes]


def kernels(path: Path) -> list[np.ndarray]:
    """Weights of the layers between the batch norms, in order."""
    graph = onnx.load(path).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("Conv", "MatMul")]
    return [weights[node.input[1]] for node in nodes]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_training_makes_the_mistake_and_calibration_makes_it_good(
    mistake: Mistake, tmp_path: Path
) -> None:
    for name in calibration_table.TRAINING:
        pytest.importorskip(name)
    folder = tmp_path / "run"
    job = {"folder": str(folder), "mistake": mistake.name, "seed": 0}
    children = partial(in_children, str(TOOL), workers=1, timeout=calibration_table.TIMEOUT)
    children("train", [job])
    broken, proper = folder / "broken.onnx", folder / "proper.onnx"
    for one, other in zip(kernels(broken), kernels(proper), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(norms(proper)) == (4 if mistake.proper.fused else 0)
    if mistake.tower == "inference":
        residue = 0.999**50 if mistake.name == "slow-decay" else 1.0
        for mean, variance in norms(broken):
            assert (variance >= residue * (1 - 1e-5)).all()
            assert residue < 1 or not (mean.any() or (variance - 1).any())
    inputs = [value.name for value in onnx.load(broken).graph.input]
    assert inputs == ["image", "is_training"][: 1 + mistake.broken.switch]
    assert np.load(folder / "unlabelled.npz")["image"].shape == (500, 8, 8, 1)
    (answer,) = children("calibrate", [{"folder": str(folder)}])
    run = Run(**answer)
    assert failures([run]) == []
    assert min(run.off("broken")) < -10
    assert min(run.by_hand, *run.draws) > 0.97
    assert (run.gamma[0] < 1 < run.gamma[1]) is mistake.proper.affine


@pytest.mark.slow
def test_scripts_that_train_other_weights_are_no_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in calibration_table.TRAINING:
        pytest.importorskip(name)
    unlike = Mistake("unlike", "", "", broken=Script(fused=False), steps=2)
    monkeypatch.setattr(calibration_table, "MISTAKES", (unlike,))
    job = {"folder": str(tmp_path / "run"), "mistake": "unlike", "seed": 0}
    with pytest.raises(RuntimeError, match="run: the two scripts did not train the same weights"):
        calibration_table.train(job)
    assert not (tmp_path / "run" / "run.json").exists()
