"""The mutation tool finds the conditions of a file, and those that no test looks at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import _conditions
import mutate
import pytest

RULE = """
class Refusal(Exception): pass

def halve(n: int) -> int | Refusal:
    if n % 2:
        return Refusal("odd")
    if n < 0 or n > 100:
        return Refusal("range")
    if n == 8:  # not a condition: eight is as good as any
        return Refusal("eight")
    return n // 2
"""
TEST = """
from tests.fake.rule import Refusal, halve

def test_halve():
    assert halve(4) == 2
    assert isinstance(halve(3), Refusal)
    assert isinstance(halve(-2), Refusal)
"""


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, mutate.__file__, "--root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    # Not in `bnopt`: pytest would look for that package's plugin there.
    files = {"tests/fake/rule.py": RULE, "tests/test_rule.py": TEST}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_exactly_the_condition_without_a_test_survives(checkout: Path) -> None:
    before = (checkout / "tests/fake/rule.py").read_bytes()
    found = run(checkout, "tests/fake", "--tests", "tests", "--jobs", "2")
    assert found.stdout.splitlines() == [
        "survivor: tests/fake/rule.py:7: n > 100  ->  False",
        "4 conditions, 3 killed, 1 survivors (1 more excused)",
    ], found.stderr
    assert found.returncode == 1
    assert (checkout / "tests/fake/rule.py").read_bytes() == before


def test_nothing_is_measured_with_tests_that_fail_anyway(checkout: Path) -> None:
    path = checkout / "tests/test_rule.py"
    path.write_text(TEST.replace("== 2", "== 3"))
    found = run(checkout, "tests/fake", "--tests", "tests")
    assert found.returncode == 1
    assert "the tests fail without any mutant" in found.stderr
    assert found.stdout == ""


def test_a_list_runs_nothing(checkout: Path) -> None:
    (checkout / "tests/test_rule.py").unlink()
    found = run(checkout, "tests/fake", "--list", "--only", "n %")
    assert found.stdout.splitlines() == [
        "tests/fake/rule.py:5: n % 2  ->  False ",
        "1 conditions, 0 excused",
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "if a or b and c:\n  return Refusal(1)",
            ["a or b and c -> False", "a -> False", "b and c -> False"],
        ),
        (
            "if not (a and b):\n  raise ValueError",
            ["not (a and b) -> False", "a -> True", "b -> True"],
        ),
        (
            "if not 0 <= a < n:\n  return Refusal(1)",
            ["not 0 <= a < n -> False", "0 <= a < n -> a < n", "0 <= a < n -> 0 <= a"],
        ),
        (
            "if any(a or b for a in c):\n  return Refusal(1)",
            ["any(a or b for a in c) -> False", "a -> False", "b -> False"],
        ),
        ("return Refusal(1) if a else b", ["a -> False"]),
        ("return b if a and c else Refusal(1)", ["a and c -> True", "a -> True", "c -> True"]),
        (
            "if a and b:\n  return 1\nreturn Refusal(2)",
            ["a and b -> True", "a -> True", "b -> True"],
        ),
        ("if a:\n  b = 1\nreturn Refusal(2)", []),
        ("if isinstance(a, Refusal):\n  return a", ["isinstance(a, Refusal) -> False"]),
        ("if isinstance(a, int):\n  return a", []),
        ("refusal = f(a) or g(b)", ["f(a) -> False", "g(b) -> False"]),
        ("return refusal or g(b)", ["refusal -> False"]),
        ("return a and b  # exact: both", ["a -> True", "b -> True"]),
        ("return a and b", []),
        ("if a and b:  # exact: so\n  a = 1", ["a and b -> True", "a -> True", "b -> True"]),
    ],
)
def test_which_conditions_are_found(body: str, expected: list[str], tmp_path: Path) -> None:
    lines = "\n".join("  " + line for line in body.splitlines())
    (tmp_path / "x.py").write_text(f"def f() -> int | Refusal:\n{lines}\n", encoding="utf-8")
    found = _conditions.conditions(tmp_path, "x.py")
    assert [f"{m.source} -> {m.replacement}" for m in found] == expected


@pytest.mark.parametrize(
    ("returns", "body", "count"),
    [
        ("bool", "return a and b", 2),
        ("bool", "if a:\n    return False\n  return b", 1),
        ("int | None", "if a:\n    return None\n  return b", 1),
        ("Refusal | None", "if a:\n    return None\n  return Refusal(b)", 1),
        ("tuple[str, str] | None", "if a:\n    return 'x', 'y'\n  return None", 1),
    ],
)
def test_the_annotation_tells_what_refuses(
    returns: str, body: str, count: int, tmp_path: Path
) -> None:
    (tmp_path / "x.py").write_text(f"def f() -> {returns}:\n  {body}\n", encoding="utf-8")
    assert len(_conditions.conditions(tmp_path, "x.py")) == count


def test_the_nearest_tests_run_first() -> None:
    tests = [
        "tests/passes/test_random_graphs.py",
        "tests/graph/test_b.py",
        "tests/algebra/test_a.py",
    ]
    plan = mutate.Plan(Path(), [*tests, "tests/passes/test_conv.py"], 1.0)
    first = plan.order("bnopt/algebra/hosts/conv.py")
    assert first == ["tests/passes/test_conv.py", tests[2], tests[1], tests[0]]
    plan.remember("bnopt/algebra/hosts/conv.py", tests[1])
    assert plan.order("bnopt/algebra/hosts/conv.py")[0] == tests[1]
