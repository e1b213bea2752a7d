"""What must hold before a fold or an export goes on: no defect that it buries, a place to write."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from bnopt.errors import RefusalError, UsageError, ValidationError
from bnopt.findings import GRAVITY, Finding
from bnopt.results import ExportResult
from bnopt.source import Source


def unsaid(findings: Iterable[Finding], told: Iterable[Finding]) -> list[Finding]:
    """Those of `findings` whose code has not been told, or not as gravely.

    A warning about one layer says nothing of an error that stops at another.
    """
    gravest: dict[str, int] = {}
    for one in told:
        gravest[one.code] = min(GRAVITY[one.severity], gravest.get(one.code, len(GRAVITY)))
    return [one for one in findings if GRAVITY[one.severity] < gravest.get(one.code, len(GRAVITY))]


def stop_on(findings: Iterable[Finding], allow: Collection[str], result: object) -> None:
    """Refuse to go on with errors that are not allowed.

    Raises:
        RefusalError: Names the first of them; carries all, and the result so far.
    """
    if "all" in allow:
        return
    stopping = [f for f in findings if f.severity == "error" and f.code not in allow]
    if not stopping:
        return
    more = f" (and {len(stopping) - 1} more)" if len(stopping) > 1 else ""
    codes = " ".join(f"--allow {code}" for code in dict.fromkeys(f.code for f in stopping))
    raise RefusalError(
        f"{stopping[0].code}: {stopping[0].message}{more}; {stopping[0].fix}; or {codes}",
        findings=stopping,
        result=result,
    )


def stop_on_difference(result: ExportResult) -> None:
    """Refuse to write what does not compute what the framework does.

    Raises:
        ValidationError: Names the first output that differs.
    """
    bad = [one for one in result.agreement if not one.ok]
    if bad:
        worst = bad[0]
        raise ValidationError(
            f"output '{worst.output}' differs from what {result.framework.partition(',')[0]} "
            f"computes by {worst.max_abs:.3g} at batch {worst.batch}, {worst.tolerance:.3g} is "
            "allowed; nothing was written",
            result=result,
        )


def target_of(source: Source, output: str | os.PathLike[str] | None, in_place: bool) -> Path | None:
    """Where the result goes; None if it is not written.

    Raises:
        UsageError: Contradictions, or an output that is the input.
    """
    if in_place:
        if output is not None:
            raise UsageError("in place and an output file exclude each other")
        if source.path is None:
            raise UsageError("only a model that was given as a path can be folded in place")
        return source.path
    if output is None:
        return None
    target = Path(output)
    if source.path is not None and target.exists() and target.samefile(source.path):
        raise UsageError(f"{target} is the input; to replace it, say so with --in-place")
    return target
