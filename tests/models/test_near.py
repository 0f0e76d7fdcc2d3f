"""Messages about unknown names: near matches, else some of the known names."""

from __future__ import annotations

import pytest

import datasets.errors
import models
import models.registry

MANY = [f"network_{number}" for number in range(50)]


@pytest.mark.parametrize("near", [models.registry.near, datasets.errors.near])
def test_of_many_names_some_are_shown(near):
    said = near("zzz_7", MANY)
    assert said.startswith("known: network_7, ")  # the nearest first
    assert said.endswith(" and 42 more")
    assert said.count(", ") == 7
    assert near("zzz", MANY[:3]) == "known: network_0, network_1, network_2"
    assert near("network_7x", MANY).startswith("did you mean network_7")
    assert near("x", []) == "there are none"


def test_an_unknown_model_is_a_short_line():
    with pytest.raises(models.ModelError) as raised:
        models.build("qqq", 10)
    assert len(str(raised.value)) < 300
    assert str(raised.value).endswith(" more")
