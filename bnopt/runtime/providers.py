"""Execution providers: from the name a user gives to proof that it ran the model.

`get_available_providers()` lists CUDA on machines without a GPU and a session falls back to the
CPU in silence, so only the session's own word counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnopt.errors import ProviderError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = ("cpu", "cuda")

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The provider names in the order given, each once.

    Raises:
        UsageError: An unknown name, or none at all.
    """
    unique = tuple(dict.fromkeys(names))
    for name in unique:
        if name not in NAMES:
            raise UsageError(f"unknown provider '{name}'; known are: {', '.join(NAMES)}")
    if not unique:
        raise UsageError(f"no provider given; known are: {', '.join(NAMES)}")
    return unique


def provider_list(name: str, available: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """What to hand to `InferenceSession` for the provider `name`.

    CUDA runs with TF32 off: its 10-bit significand would drown the differences that bnopt looks
    for. The CPU provider comes second, because some operators exist on no other.

    Args:
        name: `cpu` or `cuda`.
        available: `onnxruntime.get_available_providers()`.

    Raises:
        ProviderError: This onnxruntime is built without the provider.
    """
    if name == "cpu":
        return [(CPU, {})]
    if CUDA not in available:
        raise ProviderError(
            "provider 'cuda': the installed onnxruntime has no CUDA; run: "
            'pip uninstall -y onnxruntime, then pip install "bnopt[gpu]"'
        )
    return [(CUDA, {"use_tf32": "0"}), (CPU, {})]


def graph_assignment(session: Any) -> tuple[tuple[str, int], ...]:
    """(execution provider, number of nodes) as the session assigned them.

    Needs the session option `session.record_ep_graph_assignment_info`; empty where this version
    of onnxruntime does not report it.
    """
    report = getattr(session, "get_provider_graph_assignment_info", None)
    if report is None:
        return ()
    counts: dict[str, int] = {}
    for part in report():
        name = str(part.ep_name)
        counts[name] = counts.get(name, 0) + len(part.get_nodes())
    return tuple(sorted(counts.items()))


def check_proof(name: str, session_provider: str, assignment: tuple[tuple[str, int], ...]) -> None:
    """Compare what was asked for with what the session says.

    Raises:
        ProviderError: The session fell back, or no node runs on the provider.
    """
    if name != "cuda":
        return
    if session_provider != CUDA:
        raise ProviderError(
            f"provider 'cuda': onnxruntime fell back to {session_provider}; the NVIDIA driver or "
            'the CUDA and cuDNN libraries are missing (try nvidia-smi); pip install "bnopt[gpu]"'
        )
    if assignment and dict(assignment).get(CUDA, 0) == 0:
        elsewhere = ", ".join(f"{count} on {provider}" for provider, count in assignment)
        raise ProviderError(
            f"provider 'cuda': the session is on CUDA but none of the model's nodes is "
            f"({elsewhere}); compare with --provider cpu instead"
        )
