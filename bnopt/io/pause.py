"""Pause the garbage collector while millions of graph objects are made at once."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def gc_paused() -> Generator[None, None, None]:
    """Switch the cyclic collector off inside the block, and back on only if it was on.

    A loaded graph is one large live structure: every generation pass walks all of it and frees
    nothing, which makes loading quadratic in practice (60 000 nodes: 8 s with it, 2.4 s without).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
