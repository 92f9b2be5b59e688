"""Words that sentences are made of."""


def count(number: int, what: str) -> str:
    """A number of things: `1 file`, `1,000 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
