"""Credits in a sentence, and in money where the stack knows what one costs."""

from decimal import ROUND_HALF_UP, Decimal

from cutout.operations.budget import Price
from cutout.words import count


def word_money(credits_: float, price: Price | None) -> str:
    """` (200.00 USD)`, to follow a number of credits; nothing without a price.

    It has cents unless the price is whole; less than one is not rounded.
    """
    if price is None:
        return ""
    money = Decimal(str(credits_)) * price.amount
    cents = Decimal("0.01") if price.amount % 1 else Decimal(1)
    rounded = money.quantize(cents, ROUND_HALF_UP)
    exact = money.normalize()
    return f" ({exact if 0 < exact < 1 and exact != rounded else rounded:,f} {price.currency})"


def word_credits(number: int, price: Price | None) -> str:
    """`2,000 credits (200.00 USD)`."""
    return f"{count(number, 'credit')}{word_money(number, price)}"


def word_left(left: float | str, price: Price | None = None) -> str:
    """How many, or why that is not known: the end of a sentence, which has its full stop where the reason has one."""
    if isinstance(left, str):
        return f"how many are left is not known: {left}"
    return f"{left:,.0f}{word_money(left, price)} are left."
