"""tools/dask_agreement.py: the same bits from this machine and from workers that die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="distributed is not installed (the extra dask)")

TOOL = Path(__file__).resolve().parents[2] / "tools" / "dask_agreement.py"


@pytest.mark.slow
def test_every_row_agrees() -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "--workers", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["precise"] * 3 + ["sequential"] * 3
    assert all("360" in row for row in rows)
    assert done.stdout.count("1 worker died") == 2
