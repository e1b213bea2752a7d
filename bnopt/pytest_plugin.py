"""The pytest plugin: the fixture `bnopt_equivalence` and the option `--bnopt-provider`.

pytest loads this module in every run of every project beside which bnopt is installed, so it
imports nothing but pytest itself.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--bnopt-provider`, repeatable."""
    parser.getgroup("bnopt").addoption(
        "--bnopt-provider",
        action="append",
        choices=("cpu", "cuda"),
        default=None,
        help="execution provider that bnopt_equivalence compares on; repeatable (default: cpu)",
    )


@pytest.fixture
def bnopt_equivalence(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`bnopt.testing.assert_equivalent`, on the providers of `--bnopt-provider` by default."""
    from bnopt.testing import assert_equivalent

    chosen = tuple(request.config.getoption("--bnopt-provider") or ("cpu",))

    return functools.partial(assert_equivalent, providers=chosen)
