"""The four promises, in README's words, and that everything ends: each as what would break it.

1. Nothing is lost: every upload ends as a cutout, a letter, or one that its owner overwrote or deleted.
2. Nothing is paid twice while its result can be had. A call may be charged again when the answer of the one before was
   lost, its environment was killed, its result is gone or broken, or its hour is over; or when the owner's newer upload
   took its place, and its bytes have been uploaded again since. What never becomes a cutout is charged twice at most,
   for each replay; where two uploads share an output key, this is remembered for an hour.
3. Nothing stale wins: at rest the cutout is of the bytes that stand in the input bucket.
4. The account is safe: no paid call whose slot was reserved after the intake was paused, nor one whose environment has
   not seen within five seconds that it is open, or paused at a cap only: its credit was reserved before. What an
   operator paused, only an operator resumes; a closed intake has an owner; on probation one upload at a time is paid
   for, and each reopening in vain makes the next wait longer. With a cap, no more is charged in a day than that, and
   what operators have allowed for that day; and where nothing goes wrong, the intake is not paused at it before.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from . import aws
from .expressions import Item, Value
from .pixelcut import cutout_of
from .processes import Answer, Call
from .state import DAY_SECONDS, ZONE_SECONDS, Charge, FrozenItem, Running, State, Version
from .wiring import DEAD_LETTERS, INPUT, MAX_ATTEMPTS, OUTPUT, UPLOAD_QUEUE

MAX_CHARGES = 2
KEPT_SECONDS = 14 * 24 * 3600.0
REOPEN_SECONDS, MOST_WAIT_SECONDS = 300.0, 3_600.0
TRUST_SECONDS = 5.001  # and what rounding does to a clock


def broken(state: State, promise: str) -> None:
    if state.violation is None:
        state.violation = promise


def output_key(key: str) -> str:
    return key.rpartition(".")[0] + ".png"


def current_etag(state: State, key: str) -> str:
    found = aws.current(state, INPUT, key)
    return found.etag.strip('"') if found else ""


# Paid


def on_post(state: State, running: Running) -> None:
    if running.slot == "paused":
        broken(state, "safe: a paid call whose slot was reserved after the intake was paused")
    if not running.slot:
        broken(state, "safe: a paid call without a slot")


def on_seen(state: State, running: Running, thread: int, call: Call, answer: Answer) -> Running:
    """What the answer to a call tells an environment about the intake."""
    if call.service != "dynamodb" or call.args[0] != "intake" or answer.error:
        return running
    if call.method == "get_item":
        item = dict(answer.value or ())
        is_open = "reopened_at" not in item and ("paused_by" not in item or item["reason"][1] == "daily_cap")
        return running._replace(looked=state.clock, is_open=is_open)
    update = str(call.args[1])
    if update.startswith("SET next_at"):
        return running._replace(looked=state.clock, is_open=True)
    if update.startswith("SET probe"):
        return running._replace(looked=state.clock, is_open=False, probe=thread)
    if running.probe == thread and "probe" in update.partition("REMOVE")[2]:
        return running._replace(probe=-1)
    return running


def on_decision(state: State, running: Running, thread: int) -> None:
    """The next call of this thread is a paid one."""
    if running.probe == thread:
        return
    if not running.is_open:
        broken(state, "safe: a paid call without the probe, though the intake was not seen open")
    elif state.clock > running.looked + TRUST_SECONDS:
        broken(state, "safe: a paid call though nobody has looked for long whether the intake is open")


def on_refused(state: State, most: int) -> None:
    """Without a fault or a jump, each environment at work may learn for itself that the account has no credits."""
    state.refused += 1
    if state.refused > most:
        broken(state, "safe: calls that the account has no credits for go on")


def on_charge(state: State, running: Running, key: str, etag: str, *, flying: bool) -> int:
    """Returns the number of the charge among those of its upload."""
    earlier = [charge for charge in state.charges if (charge.key, charge.etag) == (key, etag)]
    for charge in earlier:
        if charge.state == "flying":
            broken(state, "paid: paid while another call for the same upload was in flight")
        if charge.state == "kept" and charge.until >= state.clock:
            broken(state, "paid: paid again while its result could be had")
        if charge.state == "displaced" and etag not in charge.current:
            broken(state, "paid: paid again though its owner has overwritten it")
    base = max([count for base_key, base_etag, count in state.bases if (base_key, base_etag) == (key, etag)], default=0)
    number = len(earlier) + 1
    if number - base > MAX_CHARGES:
        broken(state, "paid: charged more than twice without a cutout")
    charge = Charge(key, etag, number, "flying", running.serial) if flying else Charge(key, etag, number, "excused")
    state.charges = tuple(sorted((*state.charges, charge), key=lambda charge: charge[:3]))
    return number


def change(state_: State, charge: Charge, /, **changes: object) -> None:
    state_.charges = tuple(
        other._replace(**changes) if other[:3] == charge[:3] else other  # type: ignore[arg-type]
        for other in state_.charges
    )


EXCUSED: dict[str, Any] = {"state": "excused", "environment": "", "until": 0.0, "current": frozenset()}


def excuse(state: State, serial: str) -> None:
    """What this environment has paid for, and nobody else knows of, is lost for a reason that the promise names."""
    for charge in state.charges:
        if charge.state == "flying" and charge.environment == serial:
            change(state, charge, **EXCUSED)


def on_kill(state: State, running: Running) -> None:
    """Also one that outlived its timeout: that it has had a success, it may not have said."""
    excuse(state, running.serial)
    state.proved = False


def excuse_result(state: State, url: str) -> None:
    for charge in state.charges:
        if result_url(charge.key, charge.etag, charge.number) == url:
            change(state, charge, **EXCUSED)


def result_url(key: str, etag: str, number: int) -> str:
    return f"https://results.test/{key}/{etag}/{number}"


def on_ledger(state: State, before: FrozenItem, after: FrozenItem) -> None:
    old, new = _url(before), _url(after)
    _forget_after_an_hour(state, dict(before), dict(after))
    if old == new:
        return
    for charge in state.charges:
        url = result_url(charge.key, charge.etag, charge.number)
        if url == new and charge.state == "flying":
            until = float(dict(after).get("valid_until", ("N", Decimal(0)))[1])
            seen = frozenset({current_etag(state, charge.key)})
            change(state, charge, state="kept", environment="", until=until, current=seen)
        if (
            url == old
            and charge.state == "kept"
            and charge.etag != (claimed_for := str(dict(after).get("etag", ("S", ""))[1]))
            and claimed_for in charge.current
        ):
            seen = frozenset({current_etag(state, charge.key)})
            change(state, charge, state="displaced", current=seen)
        if url == old and not new and charge.state == "kept" and _is_replaced(state, charge.key, dict(before)):
            change(state, charge, **EXCUSED)


def _is_replaced(state: State, key: str, item: Item) -> bool:
    """Without versions, the service may have been given something else than what stood there before the call."""
    modified = item.get("modified", ("N", 0))[1]
    found = aws.current(state, INPUT, key)
    return modified != 0 and (found is None or int(found.version_id) != modified)


def _forget_after_an_hour(state: State, old: Item, new: Item) -> None:
    """Where two uploads share an output key, the ledger remembers for an hour what the other one was charged."""
    if "source" in old and old["source"] != new.get("source"):
        claimed_at = float(old["expires"][1]) - KEPT_SECONDS
        if claimed_at < state.clock - 3600:
            _forget_charges(state, str(old["source"][1]).removeprefix(f"s3://{INPUT}/"))


def _url(item: FrozenItem) -> str:
    return str(dict(item).get("result_url", ("S", ""))[1])


def _forget_charges(state: State, key: str, etag: str | None = None, more: int = 0) -> None:
    """From here on, charges count anew, but for those that are allowed on top."""
    counts: dict[tuple[str, str], int] = {}
    for charge in state.charges:
        if charge.key == key and etag in (None, charge.etag):
            counts[charge.key, charge.etag] = charge.number + more
    bases = {(base_key, base_etag): count for base_key, base_etag, count in state.bases} | counts
    state.bases = tuple(sorted((*name, count) for name, count in bases.items()))


def on_owner(state: State, key: str, *, versioned: bool) -> None:
    """The owner has changed what stands under a key. Without versions, nobody knows what the service was given."""
    etag = current_etag(state, key)
    for charge in state.charges:
        if charge.key == key and charge.state in ("flying", "kept") and not versioned:
            change(state, charge, **EXCUSED)
        elif charge.key == key and charge.state in ("kept", "displaced"):
            change(state, charge, current=charge.current | {etag})
    _forget_charges(state, key)


def on_replay(state: State, key: str, etag: str, letters: int) -> None:
    """Each letter that is sent back may be charged for."""
    _forget_charges(state, key, etag, MAX_CHARGES * (letters - 1))
    state.unbilled = tuple(upload for upload in state.unbilled if upload != (key, etag))


def on_cutout(state: State, running: Running, key: str, etag: str, replaced: Version | None) -> None:
    if replaced is not None and _source(replaced) != key:
        broken(state, "stale: an object that is not the cutout of an earlier upload was replaced")
    # Only the one that has the probe ends a probation; which of several uploads of an invocation has it, is not known.
    probe = str(dict(state.items.get("intake", ())).get("probe", ("S", ""))[1])
    state.proved |= len(running.etags) == 1 and probe.startswith(f"token-{running.serial}-")
    _forget_charges(state, key, etag)


# The cap


def day_of(clock: float) -> int:
    return int(clock + ZONE_SECONDS) // DAY_SECONDS


def sent_at(running: Running, call: Call) -> float:
    """When a paid call was decided on. It counts for that day: how long a request is on its way, nobody can bound."""
    return next(
        since for since, pending in zip(running.node.since, running.node.pending, strict=True) if pending is call
    )


def on_spent(state: State, sent: float, daily: int) -> None:
    today = day_of(sent)
    spent = dict(state.spent).get(today, 0) + 1
    state.spent = tuple(sorted((dict(state.spent) | {today: spent}).items()))
    if spent > daily + dict(state.allowed).get(today, 0):
        broken(state, "safe: more is charged in a day than the cap, and what was allowed")


def on_unknown(state: State, sent: float) -> None:
    """A call failed, and the function cannot know that it was not charged: its credit stays reserved."""
    today = day_of(sent)
    state.unknown = tuple(sorted((dict(state.unknown) | {today: dict(state.unknown).get(today, 0) + 1}).items()))


def on_counts(state: State, before: FrozenItem, after: FrozenItem, daily: int, *, alone: bool) -> None:
    """`alone`: nothing went wrong so far, and nobody else may have reserved a credit."""
    old, new = dict(before), dict(after)
    none: Value = ("N", Decimal(0))
    if "day_change" in new and new["day_change"] != old.get("day_change"):
        day = day_of(float(new["day_ends"][1]) - 1)
        extra = min(int(new.get("day_extra", none)[1]), state.granted)
        state.allowed = tuple(sorted((dict(state.allowed) | {day: extra}).items()))
    if alone and "paused_by" in new and "paused_by" not in old and new["reason"][1] == "daily_cap":
        today = day_of(float(new["day_ends"][1]) - 1)
        if dict(state.spent).get(today, 0) + dict(state.unknown).get(today, 0) < daily + dict(state.allowed).get(
            today, 0
        ):
            broken(state, "live: the intake is paused at the cap before that is reached")


# Letters


def letter_of(body: str) -> tuple[str, str]:
    """Key and ETag of the upload that a message is about."""
    object_ = json.loads(body)["Records"][0]["s3"]["object"]
    return object_["key"], object_["eTag"]


def _is_letter_of(body: str, key: str, found: Version) -> bool:
    """Whether a letter is about just this version; without versions, about these bytes."""
    object_ = json.loads(body)["Records"][0]["s3"]["object"]
    return letter_of(body) == (key, found.etag.strip('"')) and object_.get("versionId", found.version_id) == (
        found.version_id
    )


def on_letter(state: State, body: str, attributes: dict[str, str]) -> None:
    if int(attributes["Attempts"]) > MAX_ATTEMPTS:
        broken(state, "live: a letter after more attempts than are allowed")
    if attributes["Billed"] == "no" and not _is_charged(state, upload := letter_of(body)):
        state.unbilled = tuple(sorted((*state.unbilled, upload)))


def _is_charged(state: State, upload: tuple[str, str]) -> bool:
    """Whether a charge counts for an upload (key, ETag)."""
    base = max([count for *of, count in state.bases if tuple(of) == upload], default=0)
    return any((charge.key, charge.etag) == upload and charge.number > base for charge in state.charges)


def _letters_at_rest(state: State) -> str | None:
    """Of an upload's letters one has to say that it was, or may have been, billed. A duplicate's need not know.

    A letter that was right when it was written stays right: a duplicate delivery may be charged after it. Nor need
    those know of an upload whose output key another one has: the ledger may be about that one by now.
    """
    said: dict[tuple[str, str], list[str]] = {}
    for message in state.messages:
        if message.queue == DEAD_LETTERS:
            billed = next(value for name, _, value in message.attributes if name == "Billed")
            said.setdefault(letter_of(message.body), []).append(billed)
    keys = [key for bucket, key in state.objects if bucket == INPUT]
    for upload, words in said.items():
        if sum(output_key(key) == output_key(upload[0]) for key in keys) > 1:
            continue
        if set(words) == {"no"} and len(words) > state.unbilled.count(upload) and _is_charged(state, upload):
            return f"letter: the letters of {upload[0]} say that nothing was billed"
    return None


# Safe


def on_intake(state: State, running: Running, before: FrozenItem, after: FrozenItem) -> None:
    old, new = dict(before), dict(after)
    owner = old.get("paused_by", ("S", ""))[1]
    if "paused_by" in new:
        state.refused = 0
    if "reopened_at" in new and new["reopened_at"] != old.get("reopened_at"):
        state.proved = False
        in_vain = int(old.get("fruitless", ("N", 0))[1]) - 1
        if running.kind == "watch" and in_vain > 0:
            wait = min(MOST_WAIT_SECONDS, REOPEN_SECONDS * 2 ** (in_vain - 1))
            if state.clock - float(old["since"][1]) < wait - 1:
                broken(state, "safe: reopened too soon after a reopening in vain")
    probe, until = old.get("probe"), float(old.get("probe_until", ("N", 0))[1])
    if probe and until >= state.clock and new.get("probe", probe) != probe:
        broken(state, "safe: a second upload is paid for on probation before the first one has ended")
    if owner == "operator" and new.get("paused_by") != old["paused_by"] and running.kind != "resume":
        broken(state, "safe: an operator's pause was undone")


def on_slot(state: State, running: Running) -> Running:
    paused = "paused_by" in dict(state.items.get("intake", ()))
    return running._replace(slot="paused" if paused else "open")


# At rest


def _is_cutout(state: State, key: str, etag: str) -> bool:
    found = aws.current(state, OUTPUT, output_key(key))
    return found is not None and (_source(found), dict(found.metadata).get("source-etag")) == (key, etag)


def _source(cutout: Version) -> str | None:
    return dict(cutout.metadata).get("source-key")


def at_rest(state: State, expected: Mapping[str, str], *, watched: bool, faulted: bool) -> str | None:
    """What is broken when nothing goes on any more."""
    letters = [message.body for message in state.messages if message.queue == DEAD_LETTERS]
    for bucket, key in sorted(state.objects):
        found = aws.current(state, bucket, key)
        if bucket != INPUT or not found:
            continue
        etag = found.etag.strip('"')
        cutout = aws.current(state, OUTPUT, output_key(key))
        is_cutout = _is_cutout(state, key, etag)
        has_letter = any(_is_letter_of(body, key, found) for body in letters)
        if is_cutout and cutout and found.content and cutout.content != cutout_of(found.content):
            return f"stale: the cutout of {key} says that it is of bytes that it is not of"
        if not is_cutout and not has_letter:
            if _waits(state, key) or (cutout is not None and _source(cutout) is None):
                continue  # or somebody else has written there
            stale = cutout is not None and _source(cutout) == key
            return (
                f"{'stale: the cutout is of other bytes of' if stale else 'lost: neither cutout nor letter of'} {key}"
            )
        if is_cutout and has_letter and not faulted:
            return f"lost: both a cutout and a letter of {key}"
        if not faulted and expected.get(key, "cutout") not in ("any", "cutout" if is_cutout else "letter"):
            return f"live: {key} ended as a {'cutout' if is_cutout else 'letter'}"
    if violation := _letters_at_rest(state):
        return violation
    return _intake_at_rest(state, faulted=faulted) if watched else None


def _waits(state: State, key: str) -> bool:
    """Whether its message waits in the queue of an intake that an operator has paused."""
    return _owner(state) == "operator" and any(
        message.queue == UPLOAD_QUEUE and letter_of(message.body)[0] == key for message in state.messages
    )


def _owner(state: State) -> str:
    return str(dict(state.items.get("intake", ())).get("paused_by", ("S", ""))[1])


def _intake_at_rest(state: State, *, faulted: bool) -> str | None:
    owner = _owner(state)
    if state.operator == "" and owner == "operator":
        return "safe: the intake is paused in the name of an operator who has done nothing"
    if state.proved and not faulted and "reopened_at" in dict(state.items["intake"]):
        return "live: the intake is on probation though an upload has succeeded since"
    if state.operator == "paused" and owner != "operator":
        return "safe: an operator paused the intake, and it does not say so"
    if state.mapping == "Disabled" and not owner:
        return "safe: the intake is closed, and has no owner"
    if state.mapping == "Enabled" and owner:
        return f"safe: the {owner} paused the intake, and it is open"
    if owner == "function":
        return "live: the intake stays paused by the function"
    return None


def is_fault_of_ledger(call: Call) -> bool:
    return call.method == "update_item" and str(call.args[0]).startswith("cutout:")
