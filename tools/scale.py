"""How bnopt scales: a model of several gigabytes, and graphs of very many batch norms.

    python tools/scale.py [--gigabytes 4] [--pairs 1000 5000 20000] [--validate]

(a) A model of Conv + BN and Gemm + BN pairs with external data is generated, folded, and compared
with plainly writing and plainly copying the same number of bytes, both synced to disk. Memory is
anonymous memory (RssAnon of /proc/PID/status, sampled): what the process itself holds, without the
pages of files it has mapped.

(b) Chains of small Conv + BN pairs: seconds per batch norm should not grow with their number.

Everything is written under `--folder` (default: a temporary folder), twice the gigabytes for (a).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import _process
import _tables

MEBI = 1 << 20


def work(job: _process.Job) -> _process.Job:
    """In the child: make a model, or fold one."""
    kinds = {"wide": _make_wide, "chain": _make_chain, "fold": _fold}
    return kinds[job["kind"]](job)


def _make_wide(job: _process.Job) -> _process.Job:
    import _wide

    return {"batch_norms": _wide.write(Path(job["path"]), int(job["bytes"]))}


def _make_chain(job: _process.Job) -> _process.Job:
    import _wide

    _wide.write_chain(Path(job["path"]), job["pairs"])
    return {}


def _fold(job: _process.Job) -> _process.Job:
    import onnx_ir  # noqa: F401  (bnopt imports it on first use, which would be timed)

    import bnopt

    start = time.perf_counter()
    result = bnopt.fold(job["path"], output=job["output"], allow=("all",), validate=job["validate"])
    seconds = time.perf_counter() - start
    stages = {
        stage: getattr(result.timings, stage)
        for stage in ("load", "plan", "apply", "validate", "save")
    }
    return {
        "seconds": seconds,
        "stages": stages,
        "found": result.summary.found,
        "kept": result.summary.kept,
        "equivalent": result.validation.equivalent if result.validation else None,
    }


class AnonymousMemory:
    """Peak RssAnon, in KiB, of a process alone and together with its children."""

    def __init__(self) -> None:
        self.alone = 0
        self.together = 0

    def __call__(self, pid: int) -> None:
        """Take one sample; processes that end meanwhile count nothing."""
        alone = _rss_anon(pid)
        self.alone = max(self.alone, alone)
        self.together = max(self.together, alone + sum(map(_rss_anon, _children(pid))))


def _rss_anon(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    direct = [int(child) for child in text.split()]
    return direct + [grandchild for child in direct for grandchild in _children(child)]


def write_plainly(path: Path, size: int) -> float:
    """Seconds to write `size` bytes from memory and sync them."""
    block = os.urandom(MEBI) * 8
    start = time.perf_counter()
    with path.open("wb") as file:
        for offset in range(0, size, len(block)):
            file.write(block[: min(len(block), size - offset)])
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def copy_plainly(source: Path, target: Path) -> float:
    """Seconds to read a file, write it elsewhere and sync it."""
    start = time.perf_counter()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(8 * MEBI):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def run(job: _process.Job) -> tuple[_process.Job, AnonymousMemory]:
    """One job and its memory; a job that fails ends the tool."""
    memory = AnonymousMemory()
    outcome = _process.run(__file__, job, timeout=3600, watch=memory)
    if outcome.status != "ok":
        sys.exit(f"{job['kind']} of {job['path']}: {outcome.status}: {outcome.message}")
    return outcome.result, memory


def stage_text(stages: dict[str, float]) -> str:
    """`load 0.1, plan 0.2, ...`."""
    return ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())


def wide(folder: Path, gigabytes: float, *, validate: bool) -> bool:
    """Part (a); False if a batch norm was kept or the result is not equivalent."""
    path = folder / "wide.onnx"
    made, _ = run({"kind": "wide", "path": str(path), "bytes": gigabytes * 1e9})
    size = path.with_suffix(".data").stat().st_size
    os.sync()
    scratch = folder / "scratch.bin"
    plain = [write_plainly(scratch, size)]
    copied = [copy_plainly(path.with_suffix(".data"), scratch)]
    output = folder / "folded" / "wide.onnx"
    output.parent.mkdir()
    result, memory = run(
        {"kind": "fold", "path": str(path), "output": str(output), "validate": validate}
    )
    for written in output.parent.iterdir():
        written.unlink()
    # Once more afterwards: a disk's speed drifts, and one figure alone would hide it.
    plain.append(write_plainly(scratch, size))
    copied.append(copy_plainly(path.with_suffix(".data"), scratch))

    print(f"(a) {size / 1e9:.2f} GB of external data, {made['batch_norms']} batch norms")
    rows = [
        ["plain write + fsync", " / ".join(f"{s:.1f}" for s in plain), "-", "-"],
        ["plain copy + fsync", " / ".join(f"{s:.1f}" for s in copied), "-", "-"],
        [
            "bnopt.fold" + (" with validation" if validate else ""),
            f"{result['seconds']:.1f}",
            f"{memory.alone / 1024:.0f}",
            f"{memory.together / 1024:.0f}",
        ],
    ]
    header = ("what", "seconds", "peak anonymous MiB", "with its children")
    print(_tables.text(header, rows))
    print(f"stages of fold: {stage_text(result['stages'])}")
    print(f"found {result['found']}, kept {result['kept']}, equivalent: {result['equivalent']}\n")
    return not result["kept"] and result["equivalent"] is not False


def chains(folder: Path, sizes: list[int], *, validate: bool) -> bool:
    """Part (b); False if a batch norm was kept."""
    rows: list[list[str]] = []
    good = True
    for pairs in sizes:
        path = folder / f"chain{pairs}.onnx"
        run({"kind": "chain", "path": str(path), "pairs": pairs})
        job = {"kind": "fold", "path": str(path), "output": str(folder / "chain.folded.onnx")}
        result, memory = run({**job, "validate": validate})
        good &= result["found"] == pairs and not result["kept"]
        rows.append(
            [
                str(pairs),
                f"{result['seconds']:.2f}",
                f"{result['seconds'] / pairs * 1e6:.0f}",
                f"{memory.alone / 1024:.0f}",
                stage_text(result["stages"]),
            ]
        )
    print("(b) chains of Conv + BN")
    header = ("batch norms", "seconds", "us per batch norm", "peak anonymous MiB", "stages")
    print(_tables.text(header, rows))
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of (a); 0 leaves it out")
    parser.add_argument("--pairs", type=int, nargs="*", default=[1000, 5000, 20000])
    parser.add_argument("--validate", action="store_true", help="let fold validate its results")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()

    good = True
    with tempfile.TemporaryDirectory(prefix="bnopt-scale-", dir=options.folder) as name:
        if options.gigabytes:
            good &= wide(Path(name), options.gigabytes, validate=options.validate)
        if options.pairs:
            good &= chains(Path(name), options.pairs, validate=options.validate)
    return int(not good)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        _process.serve(sys.argv[2], work)
    else:
        sys.exit(main())
