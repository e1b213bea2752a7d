"""Batch statistics in disguise."""

from __future__ import annotations

import numpy as np
from batch_models import IN_CHAIN, IN_NODE, batch_model
from graphs import conv_bn, model, statistics
from rule_findings import findings

from bnopt.rules import batch_statistics


def test_statistics_of_the_batch_in_front_of_a_node() -> None:
    (finding,) = findings(batch_statistics, batch_model(IN_NODE))
    assert (finding.severity, finding.site) == ("error", "main:y")
    assert finding.message.endswith("is computed from 'c' itself, by ReduceMean 'mk'")
    assert finding.evidence == {"reduction": "mk"}


def test_statistics_of_the_batch_in_a_chain() -> None:
    (finding,) = findings(batch_statistics, batch_model(IN_CHAIN.format(axes="0, 2, 3")))
    assert (finding.severity, finding.site) == ("error", "main:r")
    assert "ReduceMean 'vk' computes the statistics" in finding.message


def test_an_instance_norm_is_not_one() -> None:
    assert findings(batch_statistics, batch_model(IN_CHAIN.format(axes="2, 3"))) == []


def test_moving_statistics_are_not_those_of_the_batch() -> None:
    assert findings(batch_statistics, conv_bn()) == []


def test_training_mode_is_another_rule() -> None:
    proto = conv_bn()
    attribute = proto.graph.node[1].attribute.add()
    attribute.name, attribute.type, attribute.i = "training_mode", 2, 1
    assert findings(batch_statistics, proto) == []


def test_the_cure_is_that_of_the_framework() -> None:
    proto = batch_model(IN_NODE)
    proto.producer_name = "pytorch"
    (finding,) = findings(batch_statistics, proto)
    assert "track_running_stats=True" in finding.fix


def test_the_data_in_front_is_not_searched_for_reductions() -> None:
    text = """g (float[N,3,8,8,2] x) => (float[N,3,8,8] y) {
        c = ReduceMean<axes = [4], keepdims = 0>(x)
        k = GlobalAveragePool(c)
        k2 = Flatten<axis = 3>(k)
        k3 = Reshape(k2, s)
        y = BatchNormalization(c, g, b, k3, v)
    }"""
    proto = model(text, s=np.array([3], np.int64), **statistics(3))
    (finding,) = findings(batch_statistics, proto)
    assert finding.message.endswith("is computed from 'c' itself")
    assert finding.evidence == {}
