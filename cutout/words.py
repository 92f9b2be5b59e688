"""Numbers and durations as words of a sentence."""


def count(number: int, what: str) -> str:
    """A number of things: `1 file`, `1,000 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`8s`, `6m53s`, `2h05m`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
