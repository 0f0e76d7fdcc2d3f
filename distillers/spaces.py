"""The values among which an option is searched: a range with its scale, or a list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .errors import MethodError

DIGITS = 3  # of searched values: a run's id must not depend on the last bit of a logarithm


@dataclass(frozen=True)
class _Range:
    """From ``low`` to ``high``, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise MethodError(f"{self!r}: expected finite numbers with low < high")

    def _rounded(self, value: float) -> float:
        """``value`` with three digits, inside the range."""
        return float(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Uniform(_Range):
    """All values of the range are equally likely."""

    def at(self, u: float) -> float:
        """The value at the fraction ``u`` in [0, 1) of the range."""
        return self._rounded(self.low + u * (self.high - self.low))


@dataclass(frozen=True)
class LogUniform(_Range):
    """All logarithms of the range are equally likely: for weights and temperatures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise MethodError(f"{self!r}: expected low > 0 on a logarithmic scale")

    def at(self, u: float) -> float:
        """The value at the fraction ``u`` in [0, 1) of the logarithmic range."""
        return self._rounded(self.low * (self.high / self.low) ** u)

    def __str__(self) -> str:
        return f"{super().__str__()}, log"


@dataclass(frozen=True)
class Integers(_Range):
    """All whole numbers of the range are equally likely."""

    low: int
    high: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.low) is not int or type(self.high) is not int:
            raise MethodError(f"{self!r}: expected whole numbers")

    def at(self, u: float) -> int:
        """The number at the fraction ``u`` in [0, 1) of the range."""
        return self.low + int(u * (self.high - self.low + 1))

    def __str__(self) -> str:
        return f"{super().__str__()}, whole"


@dataclass(frozen=True)
class Choice:
    """One of ``values``, all equally likely."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values or any(self.values.count(value) > 1 for value in self.values):
            raise MethodError(f"{self!r}: expected different values")

    def at(self, u: float) -> Any:
        """The value at the fraction ``u`` in [0, 1) of the list."""
        return self.values[int(u * len(self.values))]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.values))


Space = Uniform | LogUniform | Integers | Choice


def ends(space: Space) -> tuple[Any, ...]:
    """Values that must be valid where the whole space is: both ends, or all of a list."""
    return space.values if isinstance(space, Choice) else (space.low, space.high)
