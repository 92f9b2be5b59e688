"""One form for all states of a world that differ only in what the code never asks for.

Between invocations no environment remembers a time or a token. The code compares times, and never uses one for itself:
so the clock is set back to the start, and all times with it; and the fencing tokens of environments that are gone are
given one name. What is over in an hour is over or begins anew: it ends by a jump of the clock, which the scheduler may
make at any state, and not by the retries that there may have been before.
"""

from decimal import Decimal

from . import promises
from .expressions import Value
from .state import START, Message, State
from .wiring import UPLOAD_QUEUE

LONG_AGO = Decimal(START - 4_000)  # longer than any time that is compared with the clock: a result's hour
_TIMES = {"lease", "probe_until", "failed_at", "next_at", "since", "reopened_at", "writing_until", "others_until"}
RESULT_SECONDS, VALID_SECONDS = 3600.0, 3300
KEPT_SECONDS = 14 * 24 * 3600  # after which an item expires: so the code knows when it was claimed
# Of some times the code asks for longer when they were.
_REMEMBERED = {"failed_at": 600, "since": 4_000, "reopened_at": 4_000}


def canonical(state: State) -> None:
    """Changes a state in which nothing runs."""
    passed = Decimal(str(state.clock)) - Decimal(START)
    moments = {id_.removeprefix("cutout:"): _moments(dict(item), state.clock) for id_, item in state.items.items()}
    state.items = {
        id_: tuple(
            [(name, _attribute(name, value, passed, moments[id_.removeprefix("cutout:")])) for name, value in item]
        )
        for id_, item in state.items.items()
    }
    state.messages = tuple(sorted(_message(message, state.clock, moments) for message in state.messages))
    shift = state.clock - START
    state.results = tuple(
        (url, START + RESULT_SECONDS, png, quality)
        for url, until, png, quality in state.results
        if until >= state.clock
    )
    for charge in state.charges:
        if charge.state == "kept" and charge.until < state.clock:
            promises.change(state, charge, **promises.EXCUSED)
        elif charge.state == "kept":
            promises.change(state, charge, until=float(START + VALID_SECONDS))
    if state.mapping_until:
        state.mapping_until -= shift
    if state.watch_at:
        state.watch_at = max(state.watch_at - shift, float(START))
    state.starts = ()
    state.elapsed += shift
    state.clock = float(START)


def has_hours(state: State) -> bool:
    """Whether something in a state in its one form will be over in an hour."""
    lasting = Decimal(START + KEPT_SECONDS)
    return bool(state.results) or any(dict(item).get("expires") == ("N", lasting) for item in state.items.values())


def _moments(item: dict[str, Value], clock: float) -> list[Decimal]:
    """What the code compares the time with at which a message was sent: an hour after the claim, and the letter."""
    moments = [item["expires"][1] - KEPT_SECONDS + 3600] if "expires" in item else []
    moments += [value[1] for name, value in item.items() if _is_of_letter(name)]
    return sorted(moment for moment in moments if moment < Decimal(str(clock)))


def _is_of_letter(name: str) -> bool:
    return name == "ended_at" or name.startswith("letter_")


def _placed(moment: Decimal, moments: list[Decimal]) -> int:
    """The same order, at moments of which there are few."""
    return START - 10 * (len(moments) - moments.index(moment))


def _attribute(name: str, value: Value, passed: Decimal, moments: list[Decimal]) -> Value:
    match name:
        case "holder" | "probe":
            return "S", "token of one that is gone"
        case "valid_until":
            return "N", Decimal(START + VALID_SECONDS) if value[1] - passed >= START else LONG_AGO
        case "expires":
            claimed = value[1] - KEPT_SECONDS + 3600
            return "N", Decimal(START if claimed not in moments else _placed(claimed, moments) - 3600) + KEPT_SECONDS
        case "switching":
            return "SS", frozenset(_token(token, passed, at) for at, token in enumerate(sorted(value[1])))
    if _is_of_letter(name):
        return "N", Decimal(_placed(value[1], moments)) if value[1] in moments else value[1] - passed
    if name not in _TIMES:
        return value
    over = value[1] - passed < START - _REMEMBERED.get(name, 0)
    return "N", LONG_AGO if over else value[1] - passed


def _token(token: str, passed: Decimal, at: int) -> str:
    """Those in `switching` begin with when they were made."""
    return f"{max(Decimal(token.partition('-')[0]) - passed, LONG_AGO):.3f}-gone-{at}"


def _message(message: Message, clock: float, moments: dict[str, list[Decimal]]) -> Message:
    """When it was sent is only compared with the moments of its item."""
    first = next((float(value) / 1000 for name, _, value in message.attributes if name == "FirstSent"), message.sent)
    of_key = moments.get(promises.output_key(promises.letter_of(message.body)[0]), [])
    sent = START - 5 - 10 * sum(Decimal(str(first)) <= moment for moment in of_key)
    return message._replace(
        attributes=_attributes(message, sent),
        sent=float(sent),
        visible=max(message.visible - clock, 0.0) + START,
        receives=min(message.receives, 1),
    )


def _attributes(message: Message, sent: int) -> tuple[tuple[str, str, str], ...]:
    """A message that comes for the first time is like one that was put back without a failure."""
    given = {name: (kind, value) for name, kind, value in message.attributes}
    if message.queue == UPLOAD_QUEUE:
        attempts = given.get("Attempts", ("Number", "0"))
        billed = [("MayBeBilled", *given["MayBeBilled"])] if "MayBeBilled" in given else []
        return ("Attempts", *attempts), ("FirstSent", "Number", str(sent * 1000)), *billed
    return tuple(
        (name, kind, value) for name, kind, value in message.attributes if name not in ("FailedAt", "RequestId")
    )
