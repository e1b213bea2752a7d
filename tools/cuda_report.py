"""Fold models and prove them on an NVIDIA GPU; print what ran where, and how far off it was.

Usage: python tools/cuda_report.py MODEL.onnx...

Exits with 1 if a fold is not equivalent, with 2 if the GPU did not run it.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import bnopt
from bnopt.errors import ProviderError, RefusalError


def device() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "no GPU (nvidia-smi does not work)"
    return done.stdout.strip().splitlines()[0]


def runtime() -> str:
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "no onnxruntime"


def report(path: Path) -> bool:
    try:
        result = bnopt.fold(path, providers=("cpu", "cuda"), allow=("all",))
    except RefusalError as error:
        print(f"{path.name}: {error.message}")
        return False
    verdict = result.validation
    if verdict is None:
        print(f"{path.name}: nothing was judged")
        return False
    summary = result.summary
    state = {True: "equivalent", False: "DIFFERS", None: "not proven"}[verdict.equivalent]
    print(f"{path.name}: folded {summary.folded} of {summary.found}, {state}, {verdict.oracle}")
    for proof in verdict.providers:
        nodes = ", ".join(f"{count} nodes on {name}" for name, count in proof.assignment)
        print(f"  {proof.name}: first provider {proof.session_provider}; {nodes}")
    for output in verdict.outputs:
        worst = f" ({output.worst.run})" if output.worst else ""
        print(
            f"  {output.name}: max error {output.max_abs:.3g}, allowed {output.tolerance:.3g}, "
            f"relative {output.max_rel:.3g}{worst}"
        )
    for note in verdict.notes:
        print(f"  note: {note}")
    return verdict.equivalent is True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}; {device()}; {runtime()}")
    try:
        passed = [report(path) for path in arguments.models]
    except ProviderError as error:
        print(error.message)
        return 2
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
