"""tools/zoo/ and tools/zoo_table.py: the catalogue, verdicts and page, and programs that train."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import zoo_table
from _zoo_report import GROUPS, Row, Taken, failures, lines, page, summary
from zoo import data as zoo_data
from zoo.catalog import PROGRAMS
from zoo.program import LEARNT, Program, Saved

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "zoo_table.py"
BY_NAME = {program.name: program for program in PROGRAMS}

RIGHT = Row(
    "slim-defaults",
    "checkpoint",
    0.98,
    Taken(findings={"unusual-output": "warning"}, found=3, folded=3, accuracy=0.98),
    {"1": 1e-7, "8": 2e-7},
)
WRONG = Row(
    "slim-never",
    "checkpoint",
    0.4,
    Taken(findings={"never-updated": "error"}, found=3, folded=3, accuracy=0.4),
    {"1": 1e-7, "8": 2e-7},
    Taken(found=3, folded=3, accuracy=0.97),
)
SWITCH = replace(
    WRONG,
    name="cond-default-true",
    export=Taken(findings={"training-switch": "warning"}, found=2, accuracy=0.9),
)
OUTSIDE = replace(
    RIGHT,
    name="cond-outside",
    export=replace(RIGHT.export, findings={"updates-at-inference": "warning"}),
)


def tool(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_every_group_has_right_and_wrong_programs_with_names_of_their_own() -> None:
    assert len(BY_NAME) == len(PROGRAMS)
    for group in GROUPS:
        of = [program for program in PROGRAMS if program.group == group]
        assert {program.mistake is None for program in of} == {True, False}, group


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_is_wrong_or_right(program: Program) -> None:
    assert (program.mistake is None) == (program.codes == ())
    assert program.mistake is not None or program.repair == "none"
    module, function = program.code.split(":")
    text = (ROOT / "tools" / "zoo" / f"{module}.py").read_text(encoding="utf-8")
    assert f"\ndef {function}(" in text


@pytest.mark.parametrize("row", [RIGHT, WRONG, SWITCH, OUTSIDE], ids=lambda row: row.name)
def test_rows_that_pass(row: Row) -> None:
    assert failures(row) == []
    assert failures(Row.of(json.loads(json.dumps(asdict(row))))) == []


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (replace(RIGHT, export=Taken(error="no such op")), "export: no such op"),
        (
            replace(RIGHT, export=replace(RIGHT.export, findings={"one-step": "error"})),
            "export: still one-step",
        ),
        (
            replace(RIGHT, export=replace(RIGHT.export, folded=2, kept=["shared-output"])),
            "export: folded 2 of 3 (shared-output)",
        ),
        (
            replace(RIGHT, export=replace(RIGHT.export, found=0, folded=0)),
            "export: folded 0 of 0 ()",
        ),
        (
            replace(RIGHT, export=replace(RIGHT.export, accuracy=LEARNT - 0.01)),
            "export: reads 84%",
        ),
        (replace(RIGHT, off={"1": 1e-7, "8": 2e-4}), "batch 8 is 2.0e-04 away from TensorFlow"),
        (
            replace(RIGHT, off={"1": float("nan"), "8": 0.0}),
            "batch 1 is nan away from TensorFlow",
        ),
        (
            replace(WRONG, export=replace(WRONG.export, findings={"epsilon": "error"})),
            "none of never-updated was found",
        ),
        (replace(WRONG, repaired=None), "was not repaired"),
        (replace(WRONG, repaired=Taken(error="no data")), "repair: no data"),
        (
            replace(WRONG, repaired=Taken({"one-step": "error"}, 3, 3, accuracy=1.0)),
            "repair: still one-step",
        ),
        (
            replace(WRONG, repaired=Taken(found=3, folded=2, kept=["padding"], accuracy=1.0)),
            "repair: folded 2 of 3 (padding)",
        ),
        (
            replace(WRONG, repaired=Taken(found=3, folded=3, accuracy=0.5)),
            "repair: reads 50%",
        ),
        (
            replace(OUTSIDE, export=replace(OUTSIDE.export, accuracy=0.1)),
            "export: reads 10%",
        ),
        (replace(WRONG, off={"1": 1e-7}), "not compared with TensorFlow at batch 8"),
    ],
)
def test_rows_that_fail(row: Row, why: str) -> None:
    assert failures(row) == [why]


def test_half_precision_may_be_further_off() -> None:
    mixed = replace(RIGHT, name="keras-mixed", off={"1": 5e-3, "8": 5e-3})
    assert failures(mixed) == []
    assert len(failures(replace(mixed, off={"1": 5e-3, "8": 2e-2}))) == 1
    assert len(failures(replace(mixed, name="keras-file"))) == 2


def test_only_a_model_that_draws_random_numbers_is_not_compared() -> None:
    statistics = Taken(findings={"batch-statistics": "error"}, found=3, accuracy=0.1)
    random = Row("slim-training-adjustment", "checkpoint", 0.1, statistics)
    assert failures(random) == []
    assert len(failures(replace(WRONG, off={}))) == 2


def test_a_line_shows_what_was_found_and_repaired() -> None:
    right, wrong, broken = lines([RIGHT, WRONG, replace(RIGHT, export=Taken(error="x"), off={})])
    assert right[3:] == ("right", "", "3/3", "1e-07", "2e-07", "98.0")
    assert wrong[3:] == ("never-updated", "calibrate", "3/3", "1e-07", "2e-07", "40.0 -> 97.0")
    assert broken[3:] == ("failed", "", "0/0", "", "", "")


def test_the_summary_counts_and_names() -> None:
    bad = replace(WRONG, export=replace(WRONG.export, findings={}))
    assert summary([RIGHT, WRONG, bad]) == [
        "- 1 right programs: 1 without an error.",
        "- 2 wrong programs: 1 caught, 1 of them as an error.",
        "- 3 models delivered: 9 of 9 batch norms folded.",
        "- Largest error against TensorFlow: 2.0e-07 of its largest output.",
        "- Rows that pass: 2 of 3.",
        "- Fails: `slim-never`: none of never-updated was found.",
    ]


def test_the_page_has_every_group_and_program() -> None:
    rows = [replace(RIGHT, name=program.name) for program in PROGRAMS]
    text = page(rows)
    for group, title in GROUPS.items():
        assert f"## {group}. {title}\n" in text
    for program in PROGRAMS:
        assert f"| {program.name} | {program.what} |" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith(("|", "- "))) <= 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "nothing"), "error: no program nothing; there are: global-fn, "),
        (("--jobs", "0"), "error: --jobs is at least 1"),
        (("--markdown", "nowhere/page.md"), "error: no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = tool(*options, "--store", tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    saved = Saved("a.pb", "frozen-graph", ("x:0",), ("y:0",), "s.npz", "t.npz", {"z": False}, 0.9)
    saved.write(tmp_path)
    assert Saved.read(tmp_path) == saved


def test_a_right_program_that_learns_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the whole program: what is tested is what is made of its accuracy."""
    saved = Saved("a.pb", "frozen-graph", (), (), "s.npz", "t.npz", {}, LEARNT - 0.01)
    monkeypatch.setattr(zoo_data, "stand_in", lambda folder: saved, raising=False)
    right = Program("p", 1, "", "data:stand_in")
    with pytest.raises(RuntimeError, match="p reads 84% of its test images only"):
        right.build_and_train(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert replace(right, mistake="m").build_and_train(tmp_path) == saved
    assert Saved.read(tmp_path) == saved


def test_batches_show_every_image_before_any_again() -> None:
    images = np.arange(10, dtype=np.float32).reshape(-1, 1)
    small = zoo_data.Data(images, np.arange(10), images, np.arange(10))
    drawn = list(small.batches(4, size=5))
    for first, second in (drawn[:2], drawn[2:]):
        assert sorted([*first[1], *second[1]]) == list(range(10))
    assert [list(y) for _, y in small.batches(4, size=5)] == [list(y) for _, y in drawn]


def needs(*modules: str) -> None:
    for name in modules:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["global-op", "slim-in-place", "keras-file", "tf-keras-h5"])
def test_training_again_gives_the_same(name: str, tmp_path: Path) -> None:
    needs(*zoo_table.NEEDED)
    jobs = [{"name": name, "folder": str(tmp_path / run)} for run in ("one", "two")]
    first, second = zoo_table.trained(jobs, 1)
    assert (first.status, second.status) == ("ok", "ok"), first.message
    assert first.result == second.result
    saved = Saved.read(tmp_path / "one")
    assert saved.accuracy >= LEARNT
    assert (tmp_path / "one" / saved.source).exists()
    with np.load(tmp_path / "one" / saved.samples) as samples:
        assert {key: value.shape for key, value in samples.items()} == {"images": (256, 8, 8, 1)}


@pytest.mark.slow
def test_programs_are_trained_exported_and_repaired(tmp_path: Path) -> None:
    needs(*zoo_table.NEEDED, "onnxruntime")
    only = ("--only", "layers-saved-model", "--only", "slim-no-reuse")
    done = tool("--store", tmp_path, *only, "--markdown", tmp_path / "page.md")
    assert done.returncode == 0, done.stdout + done.stderr
    wrong, right = (line.split() for line in done.stdout.splitlines()[2:4])
    assert wrong[:1] + right[:1] == ["slim-no-reuse", "layers-saved-model"]
    before, after = float(wrong[-3]), float(wrong[-1])
    assert before < 60 < 90 < after
    assert "- Rows that pass: 2 of 2." in done.stdout
    assert "| slim-no-reuse | neither | checkpoint | never-updated" in (
        tmp_path / "page.md"
    ).read_text(encoding="utf-8")
    again = tool("--store", tmp_path, "--only", "keras-file", "--export-only")
    assert again.returncode == 2
    assert again.stderr.startswith(f"error: not in {tmp_path}: keras-file; run without")
