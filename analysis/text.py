"""Figures and lists as text."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: float, *, sign: bool = False) -> str:
    """At most 8 characters up to 10^15: 0.42, 12.5, 1,234, 56.7 k, 8.90 M."""
    mark = "+" if sign and value > 0 else "-" if value < 0 else ""
    size = abs(value)
    if size < 0.005:
        return "0"
    steps = ((99_999.5, 1.0, ""), (999_500.0, 1e3, " k"), (999.5e6, 1e6, " M"), (999.5e9, 1e9, " G"))
    divisor, unit = next(((divisor, unit) for limit, divisor, unit in steps if size < limit), (1e12, " T"))
    scaled = size / divisor
    if unit == "" and scaled >= 999.5:
        return f"{mark}{scaled:,.0f}"
    digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    text = f"{scaled:.{digits}f}"
    if unit == "" and "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{mark}{text}{unit}"


def percent(share: float) -> str:
    """Of an absolute share: 0.3 %, 12 %, 340 %."""
    value = abs(share) * 100
    if value >= 100_000:
        return "more than 100,000 %"
    return f"{value:,.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 0.05 else "less than 0.1 %"


def ratio(value: float | None) -> str:
    """At most 6 characters: x0.06, x1.42, x37.6, x412, >x999; - where there is none."""
    if value is None:
        return "-"
    if value >= 999.5:
        return ">x999"
    return f"x{value:.0f}" if value >= 99.95 else f"x{value:.1f}" if value >= 9.995 else f"x{value:.2f}"


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def some(names: Sequence[str], most: int) -> str:
    """The first of many: a, b and 7 more."""
    rest = len(names) - most
    return listed(list(names)) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"
