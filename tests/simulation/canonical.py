"""One form for all states of a world that differ only in what nobody will ever ask for.

Between invocations no environment remembers a time or a token. The code compares times, and never uses one for itself:
so the clock is set back to the start, and all times with it; those that are long over are made equal; and the fencing
tokens of environments that are gone are given one name.
"""

from decimal import Decimal

from . import promises
from .expressions import Value
from .state import START, Message, State

LONG_AGO = Decimal(START - 4_000)  # longer than any time that is compared with the clock: a result's hour
ENDED, BEFORE, AFTER = START - 1, START - 2, START
_TIMES = {"lease", "valid_until", "probe_until", "failed_at", "next_at", "since", "reopened_at"}


def canonical(state: State) -> None:
    """Changes a state in which nothing runs."""
    passed = Decimal(str(state.clock)) - Decimal(START)
    ended = {
        id_.removeprefix("cutout:"): float(dict(item)["ended_at"][1])
        for id_, item in state.items.items()
        if "ended_at" in dict(item)
    }
    state.items = {
        id_: tuple([(name, _attribute(name, value, passed)) for name, value in item])
        for id_, item in state.items.items()
    }
    state.messages = tuple(sorted(_message(message, state.clock, ended) for message in state.messages))
    shift = state.clock - START
    state.results = tuple((url, until - shift, png, quality) for url, until, png, quality in state.results if until >= state.clock)
    for charge in state.charges:
        if charge.state == "kept" and charge.until < state.clock:
            promises.change(state, charge, **promises.EXCUSED)
        elif charge.state == "kept":
            promises.change(state, charge, until=charge.until - shift)
    if state.mapping_until:
        state.mapping_until -= shift
    state.watch_at = max(state.watch_at - shift, float(START))
    state.starts = ()
    state.elapsed += shift
    state.clock = float(START)


def _attribute(name: str, value: Value, passed: Decimal) -> Value:
    match name:
        case "holder":
            return "S", "token of one that is gone"
        case "expires":
            return "N", Decimal(0)
        case "ended_at":
            return "N", Decimal(ENDED)
        case "switching":
            return "SS", frozenset(_token(token, passed) for token in value[1])
    return ("N", max(value[1] - passed, LONG_AGO)) if name in _TIMES else value


def _token(token: str, passed: Decimal) -> str:
    """Those in `switching` begin with when they were made."""
    made, dash, name = token.partition("-")
    return f"{max(Decimal(made) - passed, LONG_AGO):.3f}{dash}{name}"


def _message(message: Message, clock: float, ended: dict[str, float]) -> Message:
    """When it was sent is only compared with when the letter of its upload was written."""
    first = next((float(value) / 1000 for name, _, value in message.attributes if name == "FirstSent"), message.sent)
    key = promises.output_key(promises.letter_of(message.body)[0])
    sent = BEFORE if key in ended and first <= ended[key] else AFTER
    attributes = tuple(
        (name, kind, str(sent * 1000) if name == "FirstSent" else value)
        for name, kind, value in message.attributes
        if name not in ("FailedAt", "RequestId")
    )
    return message._replace(
        attributes=attributes, sent=float(sent), visible=max(message.visible - clock, 0.0) + START, count=0
    )
