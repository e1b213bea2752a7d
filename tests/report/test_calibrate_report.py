"""What a reader sees of a calibration, at a terminal and as JSON."""

from __future__ import annotations

import io
import json as standard
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from report_records import (
    BAD,
    GOOD,
    INFO,
    KEPT,
    calibrate_result,
    check_result,
    fold_result,
    recalibrated,
    validation,
)

from bnopt.evidence import Recalibrated, Uncalibrated
from bnopt.findings import Validation
from bnopt.report import json, terminal
from bnopt.report.text import clean
from bnopt.results import CalibrateResult, FoldResult

RIGHT = recalibrated(0, 0.049)
NAN = math.nan


def shown(
    result: CalibrateResult | FoldResult, *, stopped: bool = False, verbose: bool = False
) -> list[str]:
    stream = io.StringIO()
    terminal.show(terminal.text(result, stopped=stopped, verbose=verbose), stream)
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any(line != line.rstrip() for line in lines)
    return lines


def joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def row(lines: list[str], name: str) -> list[str]:
    return next(line.split() for line in lines if line.startswith(f"{name} "))


# ------------------------------------------------------------ terminal


def test_headline_model_and_next_step() -> None:
    lines = shown(calibrate_result())
    assert joined(lines).startswith(
        "calibrated 5 of 6 batch norms from 500 samples; wrote /models/net.calibrated.onnx "
        "/models/net.onnx: IR 8, opset 17, com.microsoft 1, pytorch 2.5, 176 nodes"
    )
    assert lines[-1] == "next: bnopt fold /models/net.calibrated.onnx"
    spaced = shown(calibrate_result(output=Path("/my models/net.onnx")))
    assert spaced[-1] == "next: bnopt fold '/my models/net.onnx'"


def test_nothing_written() -> None:
    lines = shown(calibrate_result(output=None))
    assert lines[0] == "calibrated 5 of 6 batch norms from 500 samples; nothing written"
    assert lines[-1] == "next: bnopt calibrate /models/net.onnx --data D -o OUT"
    memory = calibrate_result(output=None, info=replace(INFO, path=None))
    assert shown(memory)[-1] == "next: bnopt calibrate MODEL --data D -o OUT"
    none = shown(calibrate_result(0, output=None))
    assert none[0] == "calibrated 0 of 1 batch norm from 500 samples; nothing written"
    assert none[-1] == "next: bnopt explain data-type"
    assert "method" not in joined(none)


def test_no_batch_norm() -> None:
    lines = shown(calibrate_result(0, kept=(), output=None))
    assert lines[0] == "no batch norm found, nothing to calibrate"
    assert "next:" not in joined(lines)


def test_stopped() -> None:
    lines = shown(calibrate_result(output=None), stopped=True)
    assert lines[0] == "calibrated 5 of 6 batch norms from 500 samples; stopped, nothing written"
    assert "next:" not in joined(lines)


def test_statistics_that_were_right_already() -> None:
    said = "; the statistics were already the data's;"
    assert said in joined(shown(calibrate_result(layers=(RIGHT, RIGHT))))
    for other in (0.05, NAN, None):
        worse = recalibrated(1, other)
        assert "already" not in joined(shown(calibrate_result(layers=(RIGHT, worse))))
    assert "already" not in joined(shown(calibrate_result(0)))


def test_row_of_a_layer() -> None:
    lines = shown(calibrate_result())
    assert row(lines, "bn4") == ["bn4", "2", "BatchNorm", "2.5", "0.25..0.5", "2.5"]
    assert "the largest shift of a channel; both in standard deviations" in joined(lines)
    same = recalibrated(0, ratio=(0.5, 0.5))
    assert row(shown(calibrate_result(layers=(same,))), "bn0")[4] == "0.5"


def test_batch_statistics_had_none() -> None:
    lines = shown(calibrate_result(layers=(recalibrated(0, None),)))
    assert row(lines, "bn0") == ["bn0", "2", "batch", "statistics", "none", "stored", "-", "-"]
    assert "shift of a channel" not in joined(lines)
    half = recalibrated(0, old_variance=None)
    assert "none stored" in joined(shown(calibrate_result(layers=(half,))))


def test_worst_first() -> None:
    offs = [0.5, None, 3.0, NAN, math.inf, 0.0]
    layers = tuple(recalibrated(i, off) for i, off in enumerate(offs))
    lines = shown(calibrate_result(layers=layers))
    start = next(i for i, line in enumerate(lines) if line.startswith("batch norm"))
    order = [line.split()[0] for line in lines[start + 1 : start + 7]]
    assert order == ["bn3", "bn4", "bn2", "bn0", "bn5", "bn1"]


def test_numbers_that_are_not_finite_are_shown_as_such() -> None:
    odd = recalibrated(0, NAN, shift=(1.0, NAN), ratio=(1.0, math.inf))
    row_ = row(shown(calibrate_result(layers=(odd,))), "bn0")
    assert row_[3:] == ["nan", "1..inf", "nan"]
    odd = recalibrated(0, 2.0, ratio=(1.0, NAN))
    assert row(shown(calibrate_result(layers=(odd,))), "bn0")[4] == "nan"
    none = recalibrated(0, 0.0, mean=(), variance=(), shift=(), ratio=())
    row_ = row(shown(calibrate_result(layers=(none,))), "bn0")
    assert row_[1:] == ["0", "BatchNorm", "-", "-", "0"]


def test_long_lists_end_unless_all_are_asked_for() -> None:
    made = calibrate_result(2000, kept=tuple(replace(KEPT, name=f"k{i}") for i in range(2000)))
    lines = shown(made)
    assert "... and 1980 more, --json lists all" in lines
    assert row(lines, "bn1980")
    assert not any(line.startswith("bn1979 ") for line in lines)
    assert "kept data-type: 2000 batch norms" in lines
    assert "  ... and 1997 more, --json lists all" in lines
    assert len(lines) < 60
    every = shown(made, verbose=True)
    assert row(every, "bn0")
    assert "  k1999: 'bn_z' is of no type" in every
    assert "more," not in joined(every)


def test_twenty_layers_are_not_cut() -> None:
    assert "more," not in joined(shown(calibrate_result(20)))
    assert "... and 1 more, --json lists all" in shown(calibrate_result(21))


def test_long_names_have_a_line_of_their_own() -> None:
    name = "model/block/" + "x" * 30 + "/FusedBatchNormV3"
    lines = shown(calibrate_result(layers=(recalibrated(0, name=name), recalibrated(1, None))))
    at = lines.index(name)
    assert lines[at + 1] == "  2 channels, BatchNorm: mean off by 2.5, spread 0.25..0.5, off by 3"
    assert lines[lines.index("bn1") + 1] == "  2 channels, batch statistics: none stored"


def test_kept_are_grouped_by_reason() -> None:
    other = Uncalibrated("main:q", "q", "decomposed", "not-measurable", "it stands in a Loop")
    lines = shown(calibrate_result(kept=(KEPT, other, replace(KEPT, name="k"))))
    start = lines.index("kept data-type: 2 batch norms")
    assert lines[start : start + 6] == [
        "kept data-type: 2 batch norms",
        "  'bn_z' is of no type",
        "  k: 'bn_z' is of no type",
        "",
        "kept not-measurable: 1 batch norm",
        "  q: it stands in a Loop",
    ]


def test_how_it_was_measured() -> None:
    assert (
        "method precise: 500 samples in batches of 32, shuffled with seed 7, run once on cpu with "
        "engine local note:"
    ) in joined(shown(calibrate_result()))
    other = calibrate_result(
        method="sequential", engine="dask", provider="cuda", batch_size=None, seed=None,
        passes=4, resumed=12, samples=1,
    )  # fmt: skip
    assert (
        "method sequential: 1 sample in the batches they came in, in order, run 4 times on cuda "
        "with engine dask; 12 batches taken from an earlier run"
    ) in joined(shown(other))
    assert "; 1 batch taken from" in joined(shown(calibrate_result(resumed=1)))
    assert "run twice" in joined(shown(calibrate_result(passes=2)))
    assert "seed 0" in joined(shown(calibrate_result(seed=0)))


def test_notes_and_seconds() -> None:
    lines = shown(calibrate_result())
    assert "note: a note" in lines
    assert "13.5 s (load 0.50, rewrite 0.25, measure 12.3, save 0.40)" in lines


def test_proof() -> None:
    lines = shown(calibrate_result(proof=validation(GOOD)))
    assert "rewritten batch norms reproduce the original on its own batch" in lines
    assert any(line.startswith("y ") and line.endswith("ok") for line in lines)
    assert "rewritten" not in joined(shown(calibrate_result()))


def test_proof_that_failed() -> None:
    text = joined(shown(calibrate_result(proof=validation(BAD), output=None), stopped=True))
    assert "from 500 samples; rewritten batch norms are NOT equivalent; stopped, nothing" in text
    assert "rewritten batch norms do NOT reproduce the original on its own batch" in text
    assert "z: channel 3 differs by 0.25" in text
    # What would be written is known to be wrong.
    assert "next:" not in joined(shown(calibrate_result(proof=validation(BAD), output=None)))


def test_proof_that_could_not_be_made() -> None:
    proof = Validation(None, "none", notes=("onnxruntime crashed",))
    text = joined(shown(calibrate_result(proof=proof)))
    assert "rewritten batch norms could not be compared with the original" in text
    assert "note: onnxruntime crashed" in text
    assert "NOT" not in text


@pytest.mark.parametrize(
    "name",
    [
        "[bold red]evil[/]",
        "\x1b[2J\x1b[31mred",
        "two\nlines\r",
        "a\u202eb\u2066c",
        "\ud800",
        ":smile:",
        "x" * 300,
    ],
)
def test_names_are_shown_not_obeyed(name: str) -> None:
    result = calibrate_result(
        layers=(recalibrated(0, name=name),),
        kept=(Uncalibrated("main:q", name, "decomposed", "data-type", f"{name} is odd"),),
        info=replace(INFO, path=f"/models/{name}.onnx", producer=name, opset={name: 1}),
        proof=validation(replace(BAD, name=name, message=name)),
        provider="cpu",
        notes=(name,),
        output=Path(f"/out/{name}.onnx"),
    )
    for each in (result, fold_result(calibration=result)):
        text = "\n".join(shown(each))
        assert clean(name)[:20] in text.replace("\n", "")
        assert text.replace("\n", "").isprintable()


# ------------------------------------------------------------ a fold that calibrated first


def test_fold_says_that_it_calibrated() -> None:
    lines = shown(fold_result(2, 0, calibration=calibrate_result(proof=validation(GOOD))))
    text = joined(lines)
    assert (
        "calibrated 5 of 6 batch norms from 500 samples; furthest off: bn4, mean off by 2.5, "
        "spread 0.25..0.5, off by 2.5 method precise: 500 samples"
    ) in text
    assert "rewritten batch norms reproduce the original on its own batch" in text
    # It is not what the original computes, and a comparison would say so.
    assert "next:" not in text
    dry = fold_result(2, 0, calibration=calibrate_result(), dry_run=True, validation=None)
    assert "next:" not in joined(shown(dry))
    assert "calibrated" not in joined(shown(fold_result()))


def test_fold_says_that_there_was_no_need() -> None:
    text = joined(shown(fold_result(calibration=calibrate_result(layers=(RIGHT,)))))
    assert "from 500 samples; the statistics were already the data's method precise" in text
    assert "furthest" not in text
    none = joined(shown(fold_result(calibration=calibrate_result(0))))
    assert "calibrated 0 of 1 batch norm from 500 samples method precise" in none


# ------------------------------------------------------------ JSON


def parsed(report: dict[str, Any]) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = json.dumps(report)
    assert text.isascii()
    return standard.loads(text, parse_constant=refuse)


def test_json_of_a_calibration() -> None:
    result = calibrate_result(2, proof=validation(GOOD), resumed=3)
    report = parsed(json.report(result))
    more = {
        "layers", "kept", "method", "engine", "provider", "batch_size", "seed", "passes", "resumed",
    }  # fmt: skip
    assert report.keys() == json.empty(None).keys() | more
    assert report["schema"] == 1
    assert report["command"] == "calibrate"
    assert report["ok"] is True
    assert report["model"]["path"] == "/models/net.onnx"
    assert report["output"] == "/models/net.calibrated.onnx"
    assert report["summary"] == {
        "found": 3, "folded": 0, "merged": 0, "lowered": 0, "kept": 1, "calibrated": 2,
    }  # fmt: skip
    assert [report[key] for key in ("method", "engine", "provider")] == ["precise", "local", "cpu"]
    counts = ("samples", "batch_size", "seed", "passes", "resumed")
    assert [report[key] for key in counts] == [500, 32, 7, 1, 3]
    assert report["validation"]["equivalent"] is True
    assert report["seconds"] == {
        "load": 0.5, "calibrate": 12.3, "plan": 0.25, "apply": 0.0, "validate": 0.0, "save": 0.4,
    }  # fmt: skip
    assert report["notes"] == ["a note"]
    assert report["kept"] == [
        {
            "site": "main:z",
            "name": "bn_z",
            "form": "batch_normalization",
            "reason": "data-type",
            "message": "'bn_z' is of no type",
        }
    ]


def test_json_has_every_number_of_a_layer() -> None:
    layer = parsed(json.report(calibrate_result(1)))["layers"][0]
    assert layer.keys() == {field.name for field in fields(Recalibrated)} | {"channels"}
    assert layer == {
        "site": "main:y0",
        "name": "bn0",
        "form": "batch_normalization",
        "channels": 2,
        "depth": 0,
        "count": 32_000,
        "epsilon": 1e-3,
        "old_mean": [0, 0],
        "old_variance": [1, 1],
        "mean": [4, -8],
        "variance": [3.999, 15.999],
        "gamma": [1, 1.5],
        "beta": None,
        "shift": [2, -2.5],
        "ratio": [0.5, 0.25],
        "off": 0.5,
    }


def test_json_of_odd_numbers_and_of_nothing() -> None:
    odd = recalibrated(0, NAN, shift=(NAN, math.inf), ratio=(-math.inf, 0.0))
    layer, none = parsed(json.report(calibrate_result(layers=(odd, recalibrated(1, None)))))[
        "layers"
    ]
    assert (layer["off"], layer["shift"], layer["ratio"]) == ("nan", ["nan", "inf"], ["-inf", 0])
    assert [none[key] for key in ("old_mean", "old_variance", "shift", "ratio", "off")] == [
        None
    ] * 5
    empty = parsed(json.report(calibrate_result(0, kept=(), output=None, seed=None)))
    assert (empty["layers"], empty["kept"], empty["output"], empty["seed"]) == ([], [], None, None)
    assert empty["validation"] is None
    assert empty["summary"] == {**json.empty(None)["summary"], "calibrated": 0}


def test_json_lists_all_of_2000_layers() -> None:
    assert len(parsed(json.report(calibrate_result(2000)))["layers"]) == 2000


def test_json_of_an_error() -> None:
    report = json.with_error(json.report(calibrate_result()), "validation", "not equivalent")
    assert report["ok"] is False
    assert report["error"] == {"code": "validation", "message": "not equivalent"}


def test_json_of_a_fold_that_calibrated_first() -> None:
    assert parsed(json.report(fold_result()))["calibration"] is None
    result = calibrate_result(1, proof=validation(BAD))
    report = parsed(json.report(fold_result(calibration=result)))
    alone = parsed(json.report(result))
    step = report["calibration"]
    assert step["layers"] == alone["layers"]
    assert step == {key: alone[key] for key in step}
    assert step["validation"]["equivalent"] is False
    assert report["validation"]["equivalent"] is True


def test_other_commands_have_no_calibration() -> None:
    assert "calibration" not in json.report(check_result())
