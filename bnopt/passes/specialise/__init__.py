"""Exact rewrites that make room for folding: inputs bound, live branches and calls written out."""

from __future__ import annotations

from bnopt.passes.specialise.branches import settle_branches as settle_branches
from bnopt.passes.specialise.functions import concerned as concerned
from bnopt.passes.specialise.functions import inline as inline
from bnopt.passes.specialise.functions import multiplicities as multiplicities
from bnopt.passes.specialise.inputs import assign as assign
from bnopt.passes.specialise.inputs import bind as bind
from bnopt.passes.specialise.inputs import seal as seal
from bnopt.passes.specialise.selections import settle_selections as settle_selections

__all__ = [
    "assign",
    "bind",
    "concerned",
    "inline",
    "multiplicities",
    "seal",
    "settle_branches",
    "settle_selections",
]
