"""The real command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Standard output as one strict JSON object."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        assert len(self.out.splitlines()) == 1
        return json.loads(self.out, parse_constant=refuse)


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command: this checkout importable, no colour forced."""
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "BNOPT_TRACEBACK")}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


def bnopt(*arguments: object, cwd: Path | None = None, **changes: str) -> Done:
    """Run `bnopt` with `arguments`; keywords change its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "bnopt", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**changes),
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
