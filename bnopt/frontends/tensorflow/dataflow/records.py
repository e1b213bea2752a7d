"""The variables of batch norms, for reports."""

from __future__ import annotations

import re

import numpy as np

from bnopt.frontends.records import Variable
from bnopt.frontends.tensorflow.dataflow.view import View

_NAMED = re.compile(
    r"(?:^|/)(moving_mean|moving_variance|gamma|beta|biased|local_step|renorm)[^/]*$"
)
_SHADOW = re.compile(r"/ExponentialMovingAverage[^/]*$")
_LEARNED = ("gamma", "beta")
_STARTS = {"moving_variance": 1.0, "gamma": 1.0}


def records(view: View) -> list[Variable]:
    """Every variable that plays a part in a batch norm, by its use or by its name."""
    found: list[Variable] = []
    for name, value in view.model.values.items():
        role = role_of(view, name) if name in view.cone or name in view.updated else ""
        # An optimizer's slots carry the names of what they belong to, and Adam's powers are called
        # beta1_power: what is learned has a part in the outputs.
        if role in _LEARNED and name not in view.cone:
            continue
        if not role or not value.size or value.dtype.kind not in "fiu":
            continue
        low, high = float(np.min(value)), float(np.max(value))
        initial = _initial(view, name, role)
        found.append(Variable(name, role, tuple(value.shape), initial, low, high))
    return found


def role_of(view: View, name: str) -> str:
    """The role of a variable; empty if it has none in a batch norm."""
    if _SHADOW.search(name):
        return "shadow"
    match = _NAMED.search(name)
    return match[1] if match else view.roles.get(name, "")


def _initial(view: View, name: str, role: str) -> bool | None:
    value = view.model.values[name]
    if name in (view.model.initial_values or {}):
        return view.initial(name, role)
    if role in ("shadow", "renorm"):
        part = view.roles.get(name)
        return None if part is None else view.initial(name, part)
    return bool((value == _STARTS.get(role, 0.0)).all())
