"""Random models around batch norms, and the property that folding them must have.

`models` is the strategy, `check` the property; `test_random_graphs.py` and `tools/fuzz.py` run it.
"""

from __future__ import annotations

from random_graphs.graphs import models as models
from random_graphs.property import Seen as Seen
from random_graphs.property import check as check
from random_graphs.property import compare as compare
