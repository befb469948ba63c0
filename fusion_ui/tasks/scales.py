"""How a metric's values are written and drawn: shares in percent, everything else as the number that it is."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A metric's numbers for people.

    Attributes:
        exact: the format of a value, which Python and Plotly read alike.
        ticks: that of the numbers along an axis.
        factor: what a value is multiplied by where its unit is not written.
        num_digits: after the point.
        most: the largest value there can be; None where there is no largest.
        unit: of a difference between two values.
    """

    exact: str
    ticks: str
    factor: float
    num_digits: int
    most: float | None
    unit: str = ""

    def show(self, value: float) -> str:
        """A value with its unit, ``92.7%`` or ``0.853``; a dash for none."""
        return "–" if math.isnan(value) else format(value, self.exact)

    def show_interval(self, low: float, high: float) -> str:
        """``[90.3%, 94.5%]``"""
        return f"[{self.show(low)}, {self.show(high)}]"

    def round(self, value: float) -> float:
        """A value without its unit, rounded: 92.7 or 0.853."""
        return round(self.factor * value, self.num_digits) + 0.0  # no negative zero

    def write(self, value: float) -> str:
        """The same as text."""
        return "–" if math.isnan(value) else f"{self.factor * value:,.{self.num_digits}f}"

    def write_interval(self, low: float, high: float) -> str:
        """``[90.3, 94.5]``"""
        return f"[{self.write(low)}, {self.write(high)}]"

    def write_change(self, value: float, low: float | None = None, high: float | None = None) -> str:
        """A difference with its sign, and its interval where given: ``+1.2 [-0.3, 2.7]``."""
        ends = [f"{self.factor * part:+,.{self.num_digits}f}" for part in (value, low, high) if part is not None]
        return ends[0] if len(ends) == 1 else f"{ends[0]} [{', '.join(ends[1:])}]"


PERCENT = Scale(".1%", ".0%", 100, 1, 1.0, " points")
CORRELATION = Scale(".3f", ".2f", 1, 3, 1.0)
RATIO = Scale(",.2f", "~g", 1, 2, None)
"""Of what has no upper end, such as perplexity."""
SEVERAL = Scale(",.3f", "~g", 1, 3, None)
"""Of a mean over metrics that have no scale in common."""
