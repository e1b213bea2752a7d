from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bnopt.errors import DependencyError, ProviderError, UsageError
from bnopt.runtime.dependencies import installed, require_onnxruntime
from bnopt.runtime.providers import check_names, check_proof, provider_list


def test_one_installation_is_fine():
    require_onnxruntime(("onnxruntime",))


def test_two_installations_overwrite_each_other():
    with pytest.raises(DependencyError, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        require_onnxruntime(("onnxruntime", "onnxruntime-gpu"))


def test_two_real_installations_are_seen(tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed() == ("onnxruntime", "onnxruntime-gpu")


def _in_a_fresh_python(tmp_path, content: str | None) -> str:
    """stderr of a Python whose onnxruntime is only what `content` makes of it."""
    if content is not None:
        (tmp_path / "onnxruntime.py").write_text(content)
    block = "" if content is not None else "sys.modules['onnxruntime'] = None; "
    code = (
        f"import sys; {block}"
        "from bnopt.runtime import dependencies\n"
        "try: dependencies.import_onnxruntime()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("content", ["import no_such_library", "x = 1"])
def test_a_broken_installation_is_named(tmp_path, content):
    said = _in_a_fresh_python(tmp_path, content)
    assert said.startswith("DependencyError onnxruntime is installed but does not import")


def test_no_installation_names_the_extras(tmp_path):
    code = (
        "import sys\n"
        "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        "sys.path.insert(0, %r)\n"
        "from bnopt.runtime import dependencies\n"
        "try: dependencies.require_onnxruntime()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    root = str(__import__("pathlib").Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code % root], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("DependencyError onnxruntime is not installed")
    assert 'pip install "bnopt[cpu]"' in done.stdout
    assert 'pip install "bnopt[gpu]"' in done.stdout


def test_provider_names():
    assert check_names(["cuda", "cpu", "cuda"]) == ("cuda", "cpu")
    with pytest.raises(UsageError, match="unknown provider 'tpu'; known are: cpu, cuda"):
        check_names(["tpu"])
    with pytest.raises(UsageError, match="no provider"):
        check_names([])


def test_cuda_without_a_cuda_build_names_the_package():
    with pytest.raises(ProviderError, match=r"bnopt\[gpu\]"):
        provider_list("cuda", ["AzureExecutionProvider", "CPUExecutionProvider"])


def test_cuda_runs_without_tf32():
    providers = provider_list("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert providers[0] == ("CUDAExecutionProvider", {"use_tf32": "0"})


def test_a_session_that_fell_back_is_no_proof():
    with pytest.raises(ProviderError, match="driver"):
        check_proof("cuda", "CPUExecutionProvider", ())


def test_a_cuda_session_without_cuda_nodes_is_no_proof():
    with pytest.raises(ProviderError, match="none of the model's nodes"):
        check_proof("cuda", "CUDAExecutionProvider", (("CPUExecutionProvider", 5),))
    check_proof("cuda", "CUDAExecutionProvider", (("CUDAExecutionProvider", 1),))
    check_proof("cpu", "CPUExecutionProvider", ())
