"""The linear operators that can take affines from behind and from ahead into their constants."""

from __future__ import annotations

from bnopt.algebra.base import Absorption, Host, Refusal, Request, check_operator
from bnopt.algebra.hosts import conv, conv_transpose, dequantize, gather, gemm, matmul, recurrent

HOSTS: tuple[Host, ...] = (
    conv.HOST,
    conv_transpose.HOST,
    gemm.HOST,
    matmul.HOST,
    gather.HOST,
    dequantize.HOST,
    recurrent.LSTM,
    recurrent.GRU,
    recurrent.RNN,
)

BY_TYPE = {host.op_type: host for host in HOSTS}


def absorb(request: Request) -> Absorption | Refusal:
    """Ask the host `request.node`, whose operator is in the table, to take the affines."""
    host = BY_TYPE[request.node.op_type]
    refusal = check_operator(request.node, host.versions, request.scope, request.context)
    if refusal is None and request.before is not None and request.data_index not in host.data:
        refusal = Refusal("dynamic-weight", f"{request.what} reads it as its weight")
    for affine in (request.before, request.after):
        if refusal is None and affine is not None and not affine.is_finite():
            refusal = Refusal("overflow", f"an affine at {request.what} overflows float64")
    return refusal or host.absorb(request)
