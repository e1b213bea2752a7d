"""The linear operators that can take an affine from behind into their constants."""

from __future__ import annotations

from bnopt.algebra.base import Absorption, Host, Refusal, Request, check_operator
from bnopt.algebra.hosts import batch_normalization, conv, conv_transpose, gemm, matmul

HOSTS: tuple[Host, ...] = (
    conv.HOST,
    conv_transpose.HOST,
    gemm.HOST,
    matmul.HOST,
    batch_normalization.HOST,
)

_BY_TYPE = {host.op_type: host for host in HOSTS}


def is_host(op_type: str) -> bool:
    """Whether an operator is in the table."""
    return op_type in _BY_TYPE


def absorb(request: Request) -> Absorption | Refusal:
    """Ask the host `request.node`, whose operator is in the table, to take the affine."""
    host = _BY_TYPE[request.node.op_type]
    refusal = check_operator(request.node, host.versions, request.scope, request.context)
    return refusal or host.absorb(request)
