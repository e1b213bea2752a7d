"""Every batch norm of the zoo: train it, save it, export it, fold it, compare it with TensorFlow.

    python tools/zoo_table.py [--store FOLDER] [--only NAME]... [--jobs N]
                              [--train-only | --export-only] [--markdown FILE] [--models FOLDER]

Each program of tools/zoo/ is trained in a process of its own and saved in the store, then taken
through bnopt in another. Printed is a row for each. The exit code is 1 if one does not pass: see
`failures` in _zoo_report.py. --export-only takes the programs from the store. With --markdown FILE
the table is also written as a page; with --models FOLDER the exports are kept there, not folded,
with a manifest. All of it needs TensorFlow; `make zoo` installs that into a venv of its own.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import _process
import _tables
import _zoo_report as report
from _command import fail, require
from zoo.catalog import PROGRAMS
from zoo.program import RECORD, Program

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / ".out" / "zoo"
NEEDED = ("tensorflow", "tf_keras", "tf_slim", "tf2onnx", "sklearn")
PACKAGES = "'bnopt[cpu,tensorflow]' scikit-learn"
TIMEOUT = 900.0


def train(job: _process.Job) -> _process.Job:
    """Train one program into an empty folder."""
    folder = Path(job["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = next(program for program in PROGRAMS if program.name == job["name"])
    return {"accuracy": program.build_and_train(folder).accuracy}


def serve(job: _process.Job) -> _process.Job:
    """What a child process does."""
    if job.pop("task") == "train":
        return train(job)
    from _zoo_export import take

    return take(job)


def trained(jobs: list[_process.Job], workers: int) -> list[_process.Outcome]:
    """Train them all; say how long each took and what it reads right."""
    outcomes = _run("train", jobs, workers)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.status == "ok":
            told = f"reads {outcome.result['accuracy']:.1%}"
        else:
            told = f"{outcome.status}: {outcome.message}"
        print(f"{job['name']}: {outcome.seconds:.0f} s, {told}", file=sys.stderr)
    return outcomes


def rows(jobs: list[_process.Job], workers: int) -> list[report.Row]:
    """Take them all through bnopt."""
    found: list[report.Row] = []
    for job, outcome in zip(jobs, _run("export", jobs, workers), strict=True):
        if outcome.status == "ok":
            found.append(report.Row.of(outcome.result))
        else:
            error = report.Taken(error=f"{outcome.status}: {outcome.message}")
            found.append(report.Row(job["name"], "", 0.0, error))
    return found


def _run(task: str, jobs: list[_process.Job], workers: int) -> list[_process.Outcome]:
    todo = [{"task": task, **job} for job in jobs]
    return _process.run_all(__file__, todo, workers=workers, timeout=TIMEOUT)


def chosen(names: list[str] | None) -> list[Program]:
    """The programs of these names, or all."""
    known = {program.name: program for program in PROGRAMS}
    if unknown := [name for name in names or () if name not in known]:
        fail(f"no program {', '.join(unknown)}; there are: {', '.join(known)}")
    return [program for program in PROGRAMS if not names or program.name in names]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the programs")
    parser.add_argument("--only", action="append", metavar="NAME", help="this program only")
    parser.add_argument("--jobs", type=int, default=2, help="programs at a time")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--train-only", action="store_true", help="train and save, no more")
    either.add_argument("--export-only", action="store_true", help="take programs from the store")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="keep the exports there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    asked = options()
    if asked.job:
        _process.serve(asked.job, serve)
        return 0
    if asked.jobs < 1:
        fail("--jobs is at least 1")
    if asked.markdown and not asked.markdown.parent.is_dir():
        fail(f"no folder {asked.markdown.parent}")
    if asked.models and asked.only:
        fail("--models keeps all programs, not those of --only")
    jobs: list[_process.Job] = [
        {"name": program.name, "folder": str(asked.store / program.name)}
        for program in chosen(asked.only)
    ]
    require(NEEDED, "zoo", PACKAGES)
    if not asked.export_only:
        outcomes = trained(jobs, asked.jobs)
        if asked.train_only:
            return int(any(outcome.status != "ok" for outcome in outcomes))
    absent = [job["name"] for job in jobs if not Path(job["folder"], RECORD).is_file()]
    if asked.export_only and absent:
        fail(f"not in {asked.store}: {', '.join(absent)}; run without --export-only")
    found = rows(jobs, asked.jobs)
    print(_tables.text(report.HEADER, report.lines(found)), end="\n\n")
    print("\n".join(report.summary(found)))
    if asked.markdown:
        asked.markdown.write_text(report.page(found), encoding="utf-8")
    if asked.models:
        from _zoo_models import keep

        keep(asked.store, asked.models)
    return int(any(report.failures(row) for row in found))


if __name__ == "__main__":
    sys.exit(main())
