"""Fold very many random models, and print the first one that is folded wrongly.

    python tools/fuzz.py [--graphs 10000] [--seed 0] [--jobs 2]

Grammar and property are those of `tests/random_graphs`. The models are drawn in lots of `LOT`, each
in a process of its own and with a seed of its own, so that a crash ends one lot only, and so that
one lot can be run again: `--seed` is that of the first lot, the next ones count on from there. What
is found is shrunk and printed as ONNX text, weights included; the exit code is then 1. At the end
stand the operators and the decisions that occurred, and how often.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import _process
import _tables

ROOT = Path(__file__).resolve().parents[1]
LOT = 200


def work(job: _process.Job) -> _process.Job:
    """In the child: one lot."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import onnx
    import random_graphs
    from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

    seen = random_graphs.Seen()
    last: list[onnx.ModelProto] = []

    @seed(job["seed"])
    @settings(
        max_examples=job["graphs"],
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(random_graphs.models())
    def run(model: onnx.ModelProto) -> None:
        last[:] = [model]
        random_graphs.check(model, seen)

    result: _process.Job = {}
    try:
        run()
    except Exception as error:  # whatever a fold may raise is a finding
        result = {
            "error": f"{type(error).__name__}: {error}",
            "trace": "".join(traceback.format_exception(error)[-12:]),
            "text": onnx.printer.to_text(last[0]) if last else "no model was made",
            "model": base64.b64encode(last[0].SerializeToString()).decode() if last else "",
        }
    return {
        **result,
        "models": seen.models,
        "operators": seen.operators,
        "decisions": seen.decisions,
        "compared": seen.compared,
    }


def report(totals: dict[str, Counter[str]]) -> None:
    """The coverage, one table each."""
    for title, counts in totals.items():
        rows = [[word, str(count)] for word, count in counts.most_common()]
        print(_tables.text((title, "count"), rows), end="\n\n")


def tell(seed: int, outcome: _process.Outcome, save: Path | None) -> None:
    """One finding: the model, what is wrong with it, and how to see it again."""
    result = outcome.result
    print(f"FAILED with --seed {seed} --graphs {LOT}")
    if outcome.status != "ok":
        print(f"{outcome.status}: {outcome.message}")
        return
    print(result["text"])
    print(result["trace"])
    print(result["error"])
    if save is not None and result["model"]:
        save.write_bytes(base64.b64decode(result["model"]))
        print(f"the model is in {save}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first lot (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="lots at a time")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds per lot")
    parser.add_argument("--save", type=Path, help="where to write a model that fails")
    options = parser.parse_args()

    start, models, failed = time.perf_counter(), 0, 0
    totals: dict[str, Counter[str]] = {
        name: Counter() for name in ("operators", "decisions", "compared")
    }
    sizes = [min(LOT, options.graphs - done) for done in range(0, options.graphs, LOT)]

    def one(lot: int) -> tuple[int, _process.Outcome]:
        job = {"seed": options.seed + lot, "graphs": sizes[lot]}
        return options.seed + lot, _process.run(__file__, job, timeout=options.timeout)

    with ThreadPoolExecutor(options.jobs) as pool:
        for future in as_completed([pool.submit(one, lot) for lot in range(len(sizes))]):
            if future.cancelled():
                continue
            seed, outcome = future.result()
            models += outcome.result.get("models", 0)
            for name, counts in totals.items():
                counts.update(outcome.result.get(name, {}))
            seconds = time.perf_counter() - start
            print(f"{models} models, {seconds:.0f} s", file=sys.stderr, flush=True)
            if outcome.status != "ok" or "error" in outcome.result:
                failed += 1
                tell(seed, outcome, options.save)
                pool.shutdown(wait=False, cancel_futures=True)
    report(totals)
    found = totals["decisions"]
    gone = sum(count for word, count in found.items() if word.startswith(("folded", "merged")))
    print(
        f"{models} models, {found.total()} sites, {gone} of them folded or merged, "
        f"{failed} failures; {time.perf_counter() - start:.0f} s"
    )
    return int(bool(failed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        _process.serve(sys.argv[2], work)
    else:
        sys.exit(main())
