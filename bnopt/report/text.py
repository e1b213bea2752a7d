"""Numbers and names as text. Names come from model files: they are shown, never obeyed."""

from __future__ import annotations

import math
import os
import shlex
import unicodedata
from collections.abc import Mapping
from pathlib import Path

ORACLES = {
    "float64+onnxruntime": "a float64 reference and onnxruntime without optimizations",
    "onnxruntime": "onnxruntime without optimizations",
    "float64": "a float64 reference only; onnxruntime could not run it",
    "tolerance": "fixed tolerances",
    "none": "nothing",
}
"""What `Validation.oracle` means, in words."""

FORMS = {
    "batch_normalization": "BatchNorm",
    "decomposed": "decomposed",
    "batch_statistics": "batch statistics",
}
"""How a batch norm is written, in words."""


def clean(text: str) -> str:
    r"""`text` on one line with control, format and unpaired surrogate characters escaped.

    A node's name may hold line breaks, terminal escape sequences or characters that reverse the
    direction of writing; each becomes its Python escape, for example `\x1b`.
    """
    return "".join(c if _harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _harmless(character: str) -> bool:
    if character.isascii():
        return character.isprintable()
    return unicodedata.category(character)[0] not in "CZ"


def number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` significant digits; a dash for None."""
    if value is None:
        return "-"
    if value == 0 or math.isinf(value) or math.isnan(value):
        return f"{value:g}"
    return f"{value:.{digits}g}"


def size(count: int) -> str:
    """A number of bytes with a decimal unit: 1.5 MB is 1 500 000 bytes."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.{1 if amount < 100 else 0}f} {unit}"


def seconds(value: float) -> str:
    """Seconds with two decimals below ten, else one."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def stages(times: Mapping[str, float]) -> str:
    """Wall seconds in all and, in brackets, of each stage that took any."""
    total = seconds(sum(times.values()))
    each = ", ".join(f"{name} {seconds(value)}" for name, value in times.items() if value >= 0.005)
    return f"{total} s ({each})" if each else f"{total} s"


def plural(count: int, noun: str, ending: str = "s") -> str:
    """`1 node`, `2 nodes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{ending}"


def short_path(path: str | os.PathLike[str]) -> str:
    """`path` relative to the working directory if it is below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.fspath(path)


def quoted(path: str | os.PathLike[str] | None) -> str:
    """A model's path for a command line."""
    return shlex.quote(short_path(path)) if path else "MODEL"


def blocks(doc: str) -> list[tuple[bool, str]]:
    """The paragraphs and examples of a docstring: (whether it is an example, its text).

    Indented lines are an example and stay as they are, with blank lines between them; what stands
    directly above, such as `Example:`, is a paragraph of its own, put on one line.
    """
    found: list[tuple[bool, list[str]]] = []
    apart = True
    for line in doc.strip("\n").splitlines():
        example = line.startswith("    ")
        if not line.strip():
            apart = True
        elif found and found[-1][0] == example and (example or not apart):
            found[-1][1].extend([""] * (example and apart) + [line])
            apart = False
        else:
            found.append((example, [line]))
            apart = False
    return [
        (example, "\n".join(lines) if example else " ".join(" ".join(lines).split()))
        for example, lines in found
    ]
