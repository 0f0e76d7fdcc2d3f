"""How many examples the property-based tests try: a few, always the same; or KD_FUZZ of them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = 100  # per property, in `make test`
_asked = os.environ.get("KD_FUZZ")

settings.register_profile(
    "kd",
    max_examples=int(_asked or EXAMPLES),
    derandomize=_asked is None,  # the same examples every time; `make fuzz` draws new ones
    deadline=None,  # `guard.harmless` has its own
    database=None,  # nothing is left in the checkout
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("kd")
