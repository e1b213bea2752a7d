"""A network with data, and two dask workers that tests share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from dask_data import TESTS
from dask_runs import (
    FEEDS,
    SAMPLES,
    Net,
    network,
    run,
    task_of,
)
from graphs import normal

from bnopt.calibration.dask_engine import DaskEngine
from bnopt.calibration.engine import LocalEngine


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers can import `dask_data`."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    folder = tmp_path_factory.mktemp("net")
    data = folder / "x.npz"
    np.savez(data, x=normal(SAMPLES, 3, 20, 20) + np.float32(3))
    graph = network()
    task = task_of(graph, folder, data)
    local = run(LocalEngine(), task)
    assert (local.feeds, local.samples) == (FEEDS, SAMPLES)
    return Net(graph, task, data, local)


@pytest.fixture(scope="module")
def pair() -> Iterator[DaskEngine]:
    """Two workers that tests share; those that kill them start their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        with DaskEngine(workers=2) as engine:
            yield engine
