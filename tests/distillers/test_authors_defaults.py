"""Defaults and presets of wrapped methods are those of the wrappers' authors."""

import pytest

import distillers
from distillers import MethodError
from tests.distillers import golden


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        ("ctkd+dkd", None, {"ce": 1.0, "kd": 0.0, "alpha": 1.0, "beta": 2.0}),
        ("ctkd+dkd", "imagenet", {"kd": 0.0, "beta": 0.5, "curriculum_absolute": 5.0}),
        ("ctkd+dkd+kd", None, {"kd": 1.0}),
        ("ctkd+dkd+kd", "imagenet", {"kd": 1.0}),
        ("ctkd+kd", None, {"ce": 0.1, "kd": 0.9}),
        ("ctkd+kd", "imagenet", {"ce": 1.0, "kd": 1.0, "curriculum_absolute": 5.0}),
        ("lskd+kd", None, {"ce": 0.1, "kd": 9.0, "kd_temperature": 2.0}),
        ("lskd+kd", "imagenet", {"ce": 1.0, "kd": 9.0, "kd_temperature": 2.0}),
        ("lskd+dkd", None, {"ce": 1.0, "alpha": 9.0, "beta": 72.0, "temperature": 2.0}),
        ("lskd+dkd", "imagenet", {"alpha": 9.0, "beta": 4.5, "temperature": 2.0}),
        ("lskd+mlkd", None, {"ce": 0.1, "weight": 9.0, "temperature": 2.0}),
        ("lskd+ctkd+kd", None, {"ce": 0.1, "kd": 9.0}),
        ("lskd+crd+kd", None, {"kd": 1.0, "weight": 0.8, "kd_temperature": 4.0}),
        ("sdd+kd", None, {"ce": 0.1, "kd": 0.9, "kd_temperature": 4.0, "finest_scale": 4}),
        ("sdd+kd", "imagenet", {"ce": 0.5, "kd": 0.5, "kd_temperature": 1.0, "finest_scale": 2}),
        ("sdd+dkd", None, {"beta": 8.0, "temperature": 4.0, "warmup": 20.0}),
        ("sdd+nkd", None, {"gamma": 8.0, "temperature": 4.0, "warmup": 20.0, "keep_target": False}),
        ("sdd+nkd", "sdd", {"gamma": 8.0, "temperature": 4.0, "warmup": 20.0, "keep_target": True}),
        ("sdd+nkd", "imagenet", {"gamma": 0.5, "temperature": 1.0, "warmup": 2.4}),
        ("dot+kd", None, distillers.defaults("kd") | {"delta": 0.075}),
        ("dot+kd", "imagenet", distillers.defaults("kd", "imagenet") | {"delta": 0.09}),
        ("kd", None, {"variant": "kl_divergence"}),
        ("kd", "cls_kd", {"ce": 0.5, "kd": 0.5, "kd_temperature": 3.0}),
    ],
)
def test_defaults(name, preset, expected):
    options = distillers.defaults(name, preset)
    assert {option: options[option] for option in expected} == expected


def test_cls_kd_scales_the_cross_entropy():
    factor = golden.load("kd_clskd", "c0").tensor("aux", "ce_factor")
    assert distillers.defaults("kd", "cls_kd")["ce"] == factor


def test_dot_wraps_every_method_with_a_teacher():
    assert distillers.defaults("dot+kd").keys() == distillers.defaults("kd").keys() | {"delta"}
    for name in distillers.names():
        if distillers.find(name).needs.teacher:
            assert distillers.title(f"dot+{name}") == "DOT+" + distillers.title(name)
    with pytest.raises(MethodError, match=r"dot changes another method: expected dot\+NAME"):
        distillers.find("dot")
