"""Every error bnopt raises on purpose.

`BnoptError` is what a caller catches. Its children say who has to act; `exit_code` is what the
command line returns for them. `InternalError` stands apart: it is a bug in bnopt, never bad input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnopt.findings import Finding, Validation


class BnoptError(Exception):
    """An error with a stable `code` slug, a one-line message and an exit code.

    Args:
        message: One line: what was wrong, where, what to do.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(BnoptError):
    """The call itself is off: an unknown option value, an output in a missing folder."""

    code = "usage"


class LoadError(BnoptError):
    """The model cannot be read: missing, not ONNX, truncated, no graph."""

    code = "load"


class UnsafePathError(LoadError):
    """External data that points outside the model's folder."""

    code = "unsafe-path"


class UnsupportedModelError(LoadError):
    """A model with parts that bnopt would lose or misread, so it does not touch it."""

    code = "unsupported-model"


class SaveError(BnoptError):
    """The result cannot be written: no such folder, no permission, disk full."""

    code = "save"


class DataError(BnoptError):
    """Input data (`--data`) that cannot be read or does not fit the model's inputs."""

    code = "data"


class DependencyError(BnoptError):
    """A package that this call needs is missing, or two packages overwrite each other."""

    code = "dependency"


class ProviderError(BnoptError):
    """The execution provider that was asked for is not there, or did not run the model."""

    code = "provider"


class ExecutionError(BnoptError):
    """A runtime crashed, hung, ran out of memory or refused the model."""

    code = "execution"


class RefusalError(BnoptError):
    """bnopt stopped before it wrote anything, because of what it found.

    Attributes:
        findings: The findings of severity error that stopped it (may be empty).
        validation: The failed comparison, if it came to one.
        result: The `FoldResult` up to where it stopped, or None.
    """

    code = "refused"
    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        findings: Sequence[Finding] = (),
        validation: Validation | None = None,
        result: Any = None,
    ) -> None:
        super().__init__(message)
        self.findings = tuple(findings)
        self.validation = validation
        self.result = result


class ValidationError(RefusalError):
    """The candidate does not compute the same thing as the original."""

    code = "not-equivalent"


class InternalError(Exception):
    """A bug in bnopt. The message asks for a report; it never means bad input."""
