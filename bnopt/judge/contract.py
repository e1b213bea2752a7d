"""Do two models take and give the same things? Compared before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnopt.runtime.interface import Interface, TensorInfo


def mismatches(original: Interface, candidate: Interface) -> dict[str, str]:
    """What differs in the interface: output or input name -> one line; empty if nothing.

    Names and element types must agree, and the ranks and fixed sizes of inputs. The declared
    shape of an output is an annotation, and some models in use have it wrong: what is computed is
    compared instead, run by run. An overridable initializer of the original may be gone, or fixed,
    in the candidate; a symbol may be renamed.
    """
    found: dict[str, str] = {}
    _compare("output", original.outputs, candidate.outputs, found)
    _compare("input", original.inputs, candidate.inputs, found)
    added = set(candidate.overridable) - set(original.overridable)
    for name in sorted(added - {info.name for info in original.inputs}):
        found[name] = f"the candidate has an overridable input '{name}' that the original lacks"
    return found


def _compare(
    kind: str,
    original: tuple[TensorInfo, ...],
    candidate: tuple[TensorInfo, ...],
    found: dict[str, str],
) -> None:
    theirs = {info.name: info for info in candidate}
    # By name: a file that declares an output twice has it once.
    for info in {info.name: info for info in original}.values():
        other = theirs.pop(info.name, None)
        if other is None:
            found[info.name] = f"{kind} '{info.name}' is missing from the candidate"
        elif other.dtype != info.dtype:
            found[info.name] = (
                f"{kind} '{info.name}' is {other.dtype or 'untyped'} in the candidate, "
                f"{info.dtype or 'untyped'} in the original"
            )
        elif kind == "input" and not _shapes_agree(info, other):
            found[info.name] = (
                f"{kind} '{info.name}' has shape {_text(other)} in the candidate, "
                f"{_text(info)} in the original"
            )
    for name in theirs:
        found[name] = f"{kind} '{name}' is new in the candidate"
    names = [info.name for info in original]
    if not found and [info.name for info in candidate] != names:
        found[names[0]] = f"the {kind}s stand in another order in the candidate"


def _shapes_agree(a: TensorInfo, b: TensorInfo) -> bool:
    if a.shape is None or b.shape is None:
        return True
    return len(a.shape) == len(b.shape) and all(
        x == y or not (isinstance(x, int) and isinstance(y, int))
        for x, y in zip(a.shape, b.shape, strict=True)
    )


def _text(info: TensorInfo) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in info.shape or ())})"
