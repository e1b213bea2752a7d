"""Without torch: bnopt imports, and says what is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from bnopt.errors import DependencyError
from bnopt.frontends.torch import check_module, export


def test_importing_the_front_end_does_not_import_torch() -> None:
    code = "import sys, bnopt.frontends.torch\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_one_line_says_what_to_install() -> None:
    with pytest.raises(DependencyError, match=r"pip install 'bnopt\[torch\]'"):
        check_module(object())
    with pytest.raises(DependencyError, match=r"pip install 'bnopt\[torch\]'"):
        export(object(), (), folder=".")
