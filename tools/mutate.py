"""Take away one exactness condition at a time, and see that a test fails.

    python tools/mutate.py [FILE_OR_FOLDER...] [--tests ...] [--only TEXT] [--list] [--jobs N]

The mutants are those of `_conditions.py`. Each runs the tests, with `-x`, in a scratch copy of the
checkout; the working tree is only read. Tests that are likely to fail run first: those that failed
for the last mutant of the same file, then those whose name or folder is that of the file. Mutants
that no test kills are printed, and the exit code is 1 if there are any.

A condition whose absence cannot be seen, because another one stands behind it, is excused by a
comment on its line, or alone on the line above: `# not a condition: REASON`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import _conditions
import _first_failure
import _process

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("bnopt/algebra", "bnopt/passes", "bnopt/graph/uses.py")
TESTS = ("tests/algebra", "tests/graph", "tests/passes", "tests/rules")
RANDOM = "test_random_graphs.py"
COPIED = ("bnopt", "tests", "tools", "docs", "models", "pyproject.toml", "README.md")
# pytest's exit codes: tests failed; interrupted, by a test file that cannot be imported.
FAILED, INTERRUPTED = 1, 2
FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py)", re.MULTILINE)


@dataclass
class Plan:
    """What to run: the mutants' root, the test files, and what is learnt on the way."""

    root: Path
    tests: list[str]
    timeout: float
    killers: dict[str, list[str]] = field(default_factory=dict)

    def order(self, path: str) -> list[str]:
        """The test files, those that are likely to see a change of `path` first."""
        stem, folders = Path(path).stem, Path(path).parent.parts[1:]
        killers = self.killers.get(path, [])

        def rank(test: str) -> tuple[int, int, int]:
            known = killers.index(test) if test in killers else len(killers)
            near = 2 * (stem in Path(test).stem) + bool({*folders} & {*Path(test).parent.parts})
            return known, RANDOM in test, -near

        return sorted(self.tests, key=rank)

    def remember(self, path: str, test: str) -> None:
        """`test` has seen a change of `path`."""
        known = self.killers.setdefault(path, [])
        if test in known:
            known.remove(test)
        known.insert(0, test)


def work(job: _process.Job) -> _process.Job:
    """In the child: run pytest in the scratch copy, on its modules."""
    import io
    from contextlib import redirect_stdout

    os.chdir(job["tree"])
    sys.path.insert(0, job["tree"])
    # Worker processes that the tests start must find the copy as well.
    os.environ["PYTHONPATH"] = job["tree"]
    os.environ["BNOPT_HYPOTHESIS"] = _first_failure.NAME
    import pytest

    said = io.StringIO()
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "_first_failure", "--tb=line", "-rfE"]
    with redirect_stdout(said):
        code = int(pytest.main([*arguments, *job["tests"]]))
    match = FAILURE.search(said.getvalue())
    return {"code": code, "killer": match[1] if match else "", "tail": said.getvalue()[-2000:]}


def killed(plan: Plan, tree: Path, mutant: _conditions.Mutant) -> bool:
    """Whether a test fails, or does not end, without the condition."""
    target = tree / mutant.path
    original = target.read_bytes()
    try:
        _write(target, mutant.applied(original))
        job = {"tree": str(tree), "tests": plan.order(mutant.path)}
        outcome = _process.run(__file__, job, timeout=plan.timeout)
    finally:
        _write(target, original)
    if outcome.status in ("timeout", "crashed"):
        return True
    code = outcome.result.get("code")
    if code in (FAILED, INTERRUPTED):
        plan.remember(mutant.path, outcome.result["killer"])
        return True
    if code != 0:
        raise RuntimeError(f"pytest could not run: {outcome.result.get('tail', outcome.message)}")
    return False


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    # Python trusts a compiled file by its source's size and second, which may both be the same.
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        stale.unlink()


def copy_tree(root: Path, target: Path) -> Path:
    """A copy of what the tests need."""
    target.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, target / name)
    return target


def run_all(plan: Plan, mutants: list[_conditions.Mutant], jobs: int) -> list[_conditions.Mutant]:
    """The survivors. Every worker has a copy of the tree, so no two mutants meet."""
    survivors: list[_conditions.Mutant] = []
    done = 0
    with tempfile.TemporaryDirectory(prefix="bnopt-mutate-") as name:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            trees.put(copy_tree(plan.root, Path(name, str(number))))

        def one(mutant: _conditions.Mutant) -> None:
            nonlocal done
            tree = trees.get()
            start = time.perf_counter()
            try:
                dead = killed(plan, tree, mutant)
            finally:
                trees.put(tree)
            done += 1
            if not dead:
                survivors.append(mutant)
            word = "killed" if dead else "SURVIVED"
            seconds = time.perf_counter() - start
            print(f"{done}/{len(mutants)} {seconds:5.1f} s {word} {mutant}", file=sys.stderr)

        with ThreadPoolExecutor(jobs) as pool:
            for future in [pool.submit(one, mutant) for mutant in mutants]:
                try:
                    future.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
    return sorted(survivors, key=lambda mutant: (mutant.path, mutant.start))


def baseline(plan: Plan) -> float:
    """Seconds that the tests take on the tree as it is; they must pass."""
    with tempfile.TemporaryDirectory(prefix="bnopt-mutate-") as name:
        tree = copy_tree(plan.root, Path(name, "tree"))
        job = {"tree": str(tree), "tests": plan.tests}
        outcome = _process.run(__file__, job, timeout=plan.timeout)
    if outcome.status != "ok" or outcome.result["code"] != 0:
        print(outcome.result.get("tail") or outcome.message, file=sys.stderr)
        sys.exit("error: the tests fail without any mutant")
    return outcome.seconds


def files(root: Path, names: Iterable[str], pattern: str) -> list[str]:
    """Files of that pattern under each name, relative to the root, each once."""
    found: dict[str, None] = {}
    for name in names:
        path = root / name
        if not path.exists():
            sys.exit(f"error: there is no {path}")
        inside = sorted(path.rglob(pattern)) if path.is_dir() else [path]
        found.update((str(file.relative_to(root)), None) for file in inside)
    return list(found)


def changed_since(root: Path, reference: str) -> set[str]:
    """Files that differ from a commit, untracked ones too."""
    told: set[str] = set()
    for command in (["diff", "--name-only", reference], ["ls-files", "--others"]):
        answer = subprocess.run(
            ["git", *command], cwd=root, capture_output=True, text=True, check=False
        )
        if answer.returncode:
            sys.exit(f"error: git says: {answer.stderr.strip()}")
        told.update(answer.stdout.splitlines())
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", default=SOURCES, help="files and folders to mutate")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="test files and folders")
    parser.add_argument("--no-random", action="store_true", help=f"leave {RANDOM} out")
    parser.add_argument("--only", default="", help="mutants whose printed line holds this text")
    parser.add_argument("--changed-since", metavar="COMMIT", help="files that git sees changed")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds per mutant")
    options = parser.parse_args()

    root = options.root.resolve()
    sources = files(root, options.sources, "*.py")
    if options.changed_since:
        changed = changed_since(root, options.changed_since)
        sources = [path for path in sources if path in changed]
    found = [
        mutant
        for path in sources
        for mutant in _conditions.conditions(root, path)
        if options.only in str(mutant)
    ]
    excused = [mutant for mutant in found if mutant.excuse]
    mutants = [mutant for mutant in found if not mutant.excuse]
    if options.list:
        for mutant in found:
            print(mutant, f"  (excused: {mutant.excuse})" if mutant.excuse else "")
        print(f"{len(mutants)} conditions, {len(excused)} excused")
        return 0
    tests = files(root, options.tests, "test_*.py")
    plan = Plan(root, [t for t in tests if not (options.no_random and RANDOM in t)], 900.0)
    seconds = baseline(plan)
    plan.timeout = min(options.timeout, 60 + 5 * seconds)
    print(f"the tests pass in {seconds:.0f} s; {len(mutants)} mutants", file=sys.stderr)
    survivors = run_all(plan, mutants, options.jobs)
    for mutant in survivors:
        print(f"survivor: {mutant}")
    dead = len(mutants) - len(survivors)
    print(
        f"{len(mutants)} conditions, {dead} killed, {len(survivors)} survivors"
        + (f" ({len(excused)} more excused)" if excused else "")
    )
    return int(bool(survivors))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        _process.serve(sys.argv[2], work)
    else:
        sys.exit(main())
