"""Jobs for the worker process: load a model file into onnxruntime and run feeds through it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from bnopt.errors import ExecutionError
from bnopt.runtime.dependencies import import_onnxruntime
from bnopt.runtime.messages import one_line
from bnopt.runtime.providers import check_proof, graph_assignment, provider_list
from bnopt.runtime.tensors import from_ort_value, is_raw, to_ort_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Feed: TypeAlias = "Mapping[str, NDArray[Any]]"
Optimizations: TypeAlias = Literal["off", "default"]


@dataclass(frozen=True, slots=True)
class SessionRun:
    """What one session computed, and where.

    Attributes:
        outputs: One dict of output name -> array per feed.
        session_provider: First entry of `session.get_providers()`.
        assignment: (execution provider, number of nodes); empty where it is not reported.
    """

    outputs: list[dict[str, NDArray[Any]]]
    session_provider: str
    assignment: tuple[tuple[str, int], ...]


def run(
    path: str,
    feeds: Sequence[Feed],
    *,
    provider: str = "cpu",
    optimizations: Optimizations = "off",
    threads: int = 0,
) -> SessionRun:
    """Run every feed through a fresh session.

    Args:
        path: The model file; its external data is found beside it.
        feeds: Input name -> array, one dict per run.
        provider: `cpu` or `cuda`; proven, never assumed.
        optimizations: `off` is `ORT_DISABLE_ALL`, `default` is what a user's session does.
        threads: Threads within an operator; 0 leaves it to onnxruntime.

    Raises:
        DependencyError: No usable onnxruntime.
        ProviderError: The provider is not there or did not take the model.
    """
    ort = import_onnxruntime()
    session = _open(ort, path, provider, optimizations, threads)
    session_provider = str(session.get_providers()[0])
    assignment = graph_assignment(session)
    check_proof(provider, session_provider, assignment)
    outputs = [_run_one(ort, session, feed) for feed in feeds]
    return SessionRun(outputs, session_provider, assignment)


def run_kept(
    path: str,
    feeds: Sequence[Feed],
    *,
    provider: str = "cpu",
    optimizations: Optimizations = "default",
    threads: int = 0,
) -> list[dict[str, NDArray[Any]]]:
    """Run feeds through a session that the worker keeps until it gets another path or setting.

    The file must not change between calls. Arguments and errors are those of `run`.

    Returns:
        One dict of output name -> array per feed.
    """
    session = _kept(path, provider, optimizations, threads)
    ort = import_onnxruntime()
    return [_run_one(ort, session, feed) for feed in feeds]


@lru_cache(maxsize=1)
def _kept(path: str, provider: str, optimizations: Optimizations, threads: int) -> Any:
    session = _open(import_onnxruntime(), path, provider, optimizations, threads)
    check_proof(provider, str(session.get_providers()[0]), graph_assignment(session))
    return session


def first_runnable(
    path: str, candidates: Sequence[Feed], *, provider: str = "cpu", threads: int = 0
) -> int:
    """Index of the first feed that the model accepts, optimizations off.

    Raises:
        ExecutionError: It accepts none; the message is onnxruntime's word on the first.
    """
    ort = import_onnxruntime()
    session = _open(ort, path, provider, "off", threads)
    refusal = "no feed to try"
    for index, feed in enumerate(candidates):
        try:
            _run_one(ort, session, feed)
        # onnxruntime's exceptions share no base class of their own.
        except Exception as error:
            refusal = one_line(error) if index == 0 else refusal
            continue
        return index
    raise ExecutionError(refusal)


def _open(ort: Any, path: str, provider: str, optimizations: Optimizations, threads: int) -> Any:
    if hasattr(ort, "disable_telemetry_events"):
        ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if optimizations == "off":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = provider_list(provider, ort.get_available_providers())
    if provider == "cuda":
        _preload_libraries(ort)
    session = ort.InferenceSession(path, sess_options=options, providers=providers)
    session.disable_fallback()
    return session


def _preload_libraries(ort: Any) -> None:
    """Load the CUDA and cuDNN libraries that pip installed, which no search path leads to."""
    preload = getattr(ort, "preload_dlls", None)
    if preload is not None:
        # It prints what it cannot find; that the provider then falls back is found out anyway.
        with contextlib.redirect_stdout(io.StringIO()):
            preload()


def _run_one(ort: Any, session: Any, feed: Feed) -> dict[str, NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    raw_outputs = any(
        "bfloat16" in output.type or "float8" in output.type for output in session.get_outputs()
    )
    if raw_outputs or any(is_raw(array) for array in feed.values()):
        values = {name: to_ort_value(ort, array) for name, array in feed.items()}
        results: Any = session.run_with_ort_values(None, values)
    else:
        results = session.run(None, {name: np.asarray(array) for name, array in feed.items()})
    tensors: dict[str, NDArray[Any]] = {}
    for name, result in zip(names, results, strict=True):
        tensors.update(from_ort_value(name, result))
    return tensors
