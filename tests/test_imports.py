"""Every module can be the first to be imported, and what must be cheap imports nothing heavy."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import bnopt

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "click", "pytest")


def modules() -> list[str]:
    found = pkgutil.walk_packages(bnopt.__path__, "bnopt.")
    return ["bnopt", *(module.name for module in found if module.name != "bnopt.__main__")]


def loaded_after(code: str) -> set[str]:
    """Top-level packages in `sys.modules` of a fresh interpreter after `code`."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


_EACH_IN_A_FORK = """
import importlib, json, os, sys, traceback
import click, numpy, onnx, onnx_ir, pytest, rich
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(json.dumps(failed))
"""


def test_every_module_imports_first() -> None:
    # Third parties are loaded once; what may break is a cycle among bnopt's own modules, so each
    # must be the first of them to be imported.
    done = subprocess.run(
        [sys.executable, "-c", _EACH_IN_A_FORK, *modules()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [], done.stderr


def test_package_is_cheap() -> None:
    assert loaded_after("import bnopt, bnopt.errors, bnopt.findings").isdisjoint(HEAVY)


@pytest.mark.parametrize("option", ["--help", "--version", "fold --help", "validate --help"])
def test_help_is_cheap(option: str) -> None:
    code = f"from bnopt.cli import main\nassert main({option.split()!r}) == 0"
    assert loaded_after(code).isdisjoint({"numpy", "onnx", "onnx_ir", "onnxruntime", "rich"})


def test_plugin_is_cheap() -> None:
    loaded = loaded_after("import bnopt.pytest_plugin")
    assert loaded.isdisjoint({"numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "click"})


def test_public_names_exist() -> None:
    for name in bnopt.__all__:
        assert getattr(bnopt, name) is not None
    with pytest.raises(AttributeError):
        _ = bnopt.no_such_name  # type: ignore[attr-defined]
