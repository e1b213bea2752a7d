"""Other people's error messages, cut down to one line that a user can read."""

from __future__ import annotations

import re

_LIMIT = 300
_ORT_PREFIX = re.compile(r"\[ONNXRuntimeError\]\s*:\s*\d+\s*:\s*\w+\s*:\s*")
# `/onnxruntime_src/onnxruntime/core/x.cc:123 void onnxruntime::F(const A&, B) const `; the
# signature's parentheses may nest once (std::function arguments), and it may be left out.
_ORT_SOURCE = re.compile(
    r"(?:/[^\s:]*/)?[^\s:/]+\.(?:cc|h|hpp|cu|cuh):\d+\s+"
    r"(?:[\w<>~&*, :]*::[\w~<>]+\((?:[^()]|\([^()]*\))*\)(?:\s*const)?(?:::<lambda[^>]*>)?\s*)?"
)
# The path is the caller's to name, and is often that of a temporary copy.
_ORT_LOAD = re.compile(r"^Load model from .+? failed:\s*")
_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|out of memory|cannot allocate memory|failed to allocate memory"
    r"|available memory of \d+ is smaller",
    re.IGNORECASE,
)


def one_line(error: BaseException) -> str:
    """The message of `error` on one line, without onnxruntime's status codes and C++ signatures."""
    text = _ORT_PREFIX.sub("", str(error))
    text = _ORT_SOURCE.sub("", text)
    text = _ORT_LOAD.sub("", " ".join(text.split())) or type(error).__name__
    if isinstance(error, KeyError | AttributeError | TypeError | IndexError | AssertionError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _LIMIT else text[: _LIMIT - 1] + "…"


def is_out_of_memory(text: str) -> bool:
    """Whether a message tells of a failed allocation (C++'s, onnxruntime's or CUDA's)."""
    return _OUT_OF_MEMORY.search(text) is not None
