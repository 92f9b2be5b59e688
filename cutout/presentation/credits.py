"""The credits that are left, in a sentence."""


def word_left(left: float | str) -> str:
    """How many, or why that is not known: the end of a sentence, which has its full stop where the reason has one."""
    return f"how many are left is not known: {left}" if isinstance(left, str) else f"{left:,.0f} are left."
