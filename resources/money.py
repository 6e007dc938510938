"""Money as whole micro-dollars, so that sums are exact and a database can compare them.

One USD is 1,000,000 micros. A price is a decimal until it enters the ledger; it never passes through a float.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import NewType

Micros = NewType("Micros", int)
"""An amount of money in millionths of a US dollar."""

MICROS_PER_USD = 1_000_000


def usd(amount: str | int | Decimal) -> Micros:
    """Turn an amount in US dollars into micros, rounding half a micro up.

    Args:
        amount: Dollars as text, whole number or decimal. Floats are refused: 0.1 is not a tenth.

    Raises:
        TypeError: `amount` is a float.
        decimal.InvalidOperation: `amount` is not a number.
    """
    if isinstance(amount, float):
        raise TypeError(f"money must not be a float, got {amount!r}; pass it as text")
    return Micros(int((Decimal(amount) * MICROS_PER_USD).to_integral_value(rounding=ROUND_HALF_UP)))


def to_usd(amount: int) -> Decimal:
    """The amount in US dollars, exactly."""
    return Decimal(amount) / MICROS_PER_USD


def show_usd(amount: int | None) -> str:
    """The amount for a person: `$1.20`, `$0.001` if cents are not enough, `unknown` for None."""
    if amount is None:
        return "unknown"
    dollars = to_usd(amount)
    cents = dollars.quantize(Decimal("0.01"))
    return f"${cents if cents == dollars else dollars.normalize()}"


def show_cents(amount: int | None) -> str:
    """The amount rounded to cents, where a person only looks: `$1.20`, `under $0.01`, `unknown` for None."""
    if amount is None:
        return "unknown"
    cents = to_usd(amount).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
    return f"${cents}" if cents or not amount else "under $0.01"
