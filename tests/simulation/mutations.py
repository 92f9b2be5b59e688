"""Mutations of the protocol: each removes one safeguard of a promise, and the simulation must find each.

A mutation is a change of a module's source text, which is run in the module's place. An environment builds its objects
from the modules anew, and so gets what is mutated.
"""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType

from . import wiring
from .explore import Found, explore
from .worlds import BY_NAME


@dataclass(frozen=True)
class Mutation:
    """`old` stands once in the module. `worlds` are those that are tried, in this order."""

    name: str
    module: str
    old: str
    new: str
    worlds: tuple[str, ...]
    faults: int = 0  # where a world's own are not enough
    jumps: int = 0


ONE = "one upload, three deliveries"
TWO = "two versions, two deliveries each"
ABA = "A, B, A"
TWICE = "A, B twice, A"
PLAIN = "A, B, A without versions"
OCCUPIED = "somebody else writes under the output key"
SHARED = "two uploads of one output key"
DELETED = "delete and upload again"
LETTER = "a letter is replayed at once"
REPLAYED = "a replayed letter is delivered twice, and S3 fails at first"
AFTER_LETTER = "another upload of the output key, after a letter"
LATER = "A, B three times, A while the last of them writes"
SAME = "the same bytes twice, and no cutout of them"
OPERATOR = "an operator pauses and resumes"
CREDITS = "no credits, a reopening, and an operator"
DOWN = "an outage of all, two environments"
REFUSED = "the output bucket refuses"
BY_HAND = "disabled by hand"
HEAD = "S3 fails before anything is paid"
SLOTS = "paused and reopened while an upload waits for its slot"
CONNECTED = "paused while a request is being connected"
MIDNIGHT, ALONE, ALLOWED = "a cap, and midnight", "a cap, and one environment that fails", "more is allowed at the cap"
GIVEN_BACK, AT_PROBATION = "a credit is given back", "on probation at a cap"
GONE, NO_URL, ODD, BROKEN, FORBIDDEN, KILLED = (
    f"one upload always fails ({kind})" for kind in ("gone", "no_url", "odd", "500", "403", "kill")
)

_LEDGER, _USE_CASE = "remove_background.ledger", "remove_background.process_upload"
_STORAGE, _WORKER, _INTAKE = "remove_background.storage", "remove_background.worker", "remove_background.intake"
_LIMITER, _REOPEN, _AWS = "remove_background.rate_limiter", "reopen_intake.handler", "remove_background.aws"
_CAPS = "remove_background.caps"

MUTATIONS = [
    # The ledger
    Mutation(
        "what follows a claim is not fenced",
        _LEDGER,
        'condition="holder = :holder")',
        'condition="attribute_exists(id) OR holder = :holder")',
        (LETTER, ONE),
    ),
    Mutation("no lease", _LEDGER, "return self.lease is not None and self.lease >= now", "return False", (ONE,)),
    Mutation(
        "a lease without the time that is left",
        _LEDGER,
        "return time.time() + deadline.remaining() + LEASE_MARGIN",
        "return time.time() + LEASE_MARGIN",
        (ONE,),
    ),
    Mutation(
        "claimed by ETag only: older bytes as well",
        _LEDGER,
        "found = confirm()",
        "return None",
        (TWO,),
    ),
    Mutation(
        "other bytes do not wait for those that may still be written",
        _LEDGER,
        "if seen.writing_until >= now and not seen.is_written(standing, now):",
        "if now < 0:",
        (TWICE,),
    ),
    Mutation(
        "the first claim takes what another upload has left",
        _LEDGER,
        "AND attribute_not_exists(lease) AND expires < :settled",
        "AND attribute_not_exists(lease) AND (attribute_exists(id) OR expires < :settled)",
        (TWO, SHARED),
    ),
    Mutation(
        "a valid result is not reused", _LEDGER, "if mine and seen.is_valid(now):", "if mine and now < 0:", (ONE,)
    ),
    Mutation("no cap on charges", _LEDGER, "if charges > MAX_CHARGES:", "if charges > 99:", (KILLED, ONE)),
    Mutation(
        "charges begin anew at each claim",
        _LEDGER,
        "charges = 1 if seen.ended_at is not None else seen.charges + 1",
        "charges = 1",
        (KILLED, GONE),
    ),
    Mutation(
        "a charge is always given back", _LEDGER, "claim.charges - (not charged)", "claim.charges - 1", (NO_URL, ONE)
    ),
    Mutation(
        "an answer that the reference does not describe does not count as a charge",
        _LEDGER,
        "or error.counts_as_charge",
        "or error.retry_after is not None",
        (ODD,),
    ),
    Mutation(
        "the result is not kept",
        _LEDGER,
        "SET result_url = :url, valid_until = :until, billed",
        "SET no_url = :url, no_time = :until, billed",
        (ONE,),
    ),
    Mutation(
        "a result is kept for longer than its hour",
        _LEDGER,
        "RESULT_SECONDS = 3600 - 300",
        "RESULT_SECONDS = 36000",
        (ONE, GONE),
    ),
    Mutation(
        "another key's result is claimed over",
        _LEDGER,
        "(not seen.is_of_key(upload) and (seen.is_valid(now) or seen.is_unsettled(now)))",
        "(now < 0)",
        (SHARED,),
    ),
    Mutation(
        "the second claim whatever the item is by now",
        _LEDGER,
        "*seen.unchanged(upload))",
        '"attribute_exists(holder)", {})',
        (ONE, TWO),
    ),
    Mutation(
        "a replay is a duplicate",
        _LEDGER,
        "if sent <= seen.letters.get(_letter_of(upload), 0.0):",
        "if _letter_of(upload) in seen.letters:",
        (LETTER,),
    ),
    Mutation(
        "the letter of a replay does not end its second delivery",
        _LEDGER,
        "OR #letter < :sent)",
        "OR (#letter < :sent AND #letter > :sent))",
        (REPLAYED,),
    ),
    Mutation(
        "A, B, A: nobody asks whether B is in flight",
        _USE_CASE,
        "if not present.is_of_just(upload):",
        "if not present:",
        (ABA,),
    ),
    Mutation(
        "a claim forgets who may still write",
        _LEDGER,
        '":until": max(claim.writing_until, lease)',
        '":until": 0.0',
        (ABA,),
    ),
    Mutation(
        "an upload of the same bytes shares another one's letter",
        _LEDGER,
        "if sent <= seen.letters.get(_letter_of(upload), 0.0):",
        "if sent <= (seen.ended_at or 0.0):",
        (SAME,),
    ),
    Mutation(
        "a letter ends its upload only until another upload has claimed the item",
        _LEDGER,
        "if sent <= seen.letters.get(_letter_of(upload), 0.0):",
        "if seen.is_about(upload) and sent <= seen.letters.get(_letter_of(upload), 0.0):",
        (AFTER_LETTER,),
    ),
    Mutation(
        "a claim that has nothing to lose forgets letters",
        _LEDGER,
        " AND attribute_not_exists(#letter))",
        ")",
        (AFTER_LETTER,),
    ),
    Mutation(
        "who takes a result up again shortens how long others may write",
        _LEDGER,
        "result_url = :url AND writing_until <= :until",
        "result_url = :url",
        (LATER,),
    ),
    Mutation(
        "without versions: nobody looks whether the upload was replaced",
        _USE_CASE,
        "if paid.modified:",
        "if paid.modified < 0:",
        (PLAIN,),
    ),
    Mutation(
        "without versions: a result that was not compared is used by the next delivery",
        _LEDGER,
        'Paid(seen.result_url, _number(item, "modified"))',
        "Paid(seen.result_url)",
        (PLAIN,),
    ),
    # S3
    Mutation("no If-None-Match", _STORAGE, 'else {"IfNoneMatch": "*"}', "else {}", (OCCUPIED,)),
    Mutation(
        "no If-Match on the cutout", _STORAGE, '{"IfMatch": replaces.etag} if replaces', "{} if replaces", (OCCUPIED,)
    ),
    Mutation("the SDK repeats PutObject", _AWS, '"attempt=1" not in', '"attempt=" not in', (ABA,)),
    Mutation(
        "the source is not looked at again before a cutout is replaced",
        _USE_CASE,
        "if present and isinstance(ended := self.storage.look_at(upload), Outcome):",
        "if isinstance(ended := None, Outcome):",
        (TWO,),
    ),
    Mutation("the source is read without If-Match", _STORAGE, "IfMatch=f'\"{upload.etag}\"', Range", "Range", (TWO,)),
    Mutation(
        "another key's cutout is replaced", _USE_CASE, "if not present.is_of_key(upload):", "if not present:", (SHARED,)
    ),
    Mutation(
        "a result is forgotten before it is fetched",
        _USE_CASE,
        "with self.results.fetch(paid.result_url, deadline) as result:",
        'self.ledger.forget(output_key, upload, paid.result_url, "result_gone")\n'
        "            with self.results.fetch(paid.result_url, deadline) as result:",
        (ONE,),
    ),
    # Messages
    Mutation(
        "done with though the letter was not written",
        _WORKER,
        'return Ending("unavailable", comes_back=True, stays=True)',
        'return Ending("letter")',
        (LETTER, BROKEN),
        faults=1,
    ),
    Mutation(
        "done with though it was not put back",
        _WORKER,
        'extra={"error_code": error_code(error)})\n            return False',
        'extra={"error_code": error_code(error)})\n            return True',
        (BROKEN,),
        faults=1,
    ),
    Mutation(
        "failures count as no attempts",
        _WORKER,
        "delivery.attempt - (not any(ending.counts for _, ending in left))",
        "delivery.attempt - 1",
        (BROKEN,),
    ),
    Mutation(
        "attempts without an end",
        _WORKER,
        "delivery.attempt < self.config.max_attempts",
        "delivery.attempt < 10**6",
        (BROKEN,),
    ),
    Mutation(
        "an upload's letter is closed after an operator may have replayed it",
        _WORKER,
        "written = time.time()",
        "written = time.time() + 2",
        (LETTER,),
    ),
    # The intake
    Mutation(
        "a slot without the condition that the intake is open",
        _LIMITER,
        'f"{condition} AND {IS_OPEN}{part.condition}"',
        'f"{condition}{part.condition}"',
        (OPERATOR, CREDITS),
    ),
    Mutation(
        "nobody asks whether a request may begin once it is connected",
        _LIMITER,
        "yield functools.partial(self._check, slot)",
        "yield lambda: None",
        (CONNECTED,),
    ),
    Mutation(
        "the function pauses only in its memory",
        _INTAKE,
        "paused = self._item.pause(FUNCTION, reason)",
        "paused = True",
        (CREDITS,),
    ),
    Mutation("nothing pauses the intake", _INTAKE, "if len(state.failing) < limit:", "if limit:", (DOWN,)),
    Mutation(
        "the function takes an operator's pause over",
        _INTAKE,
        'condition = "attribute_not_exists(paused_by) OR "',
        'condition = "attribute_not_exists(paused_by) OR attribute_exists(id) OR "',
        (CREDITS,),
    ),
    Mutation(
        "reopened without asking who paused",
        _REOPEN,
        "if seen.paused_by != FUNCTION:",
        "if not seen.paused_by:",
        (OPERATOR, CREDITS),
    ),
    Mutation(
        "reopened though it was paused anew",
        _INTAKE,
        'condition = "paused_by = :by"\n        if seen.since is not None:\n            condition += " AND',
        'condition = "attribute_exists(id) OR paused_by = :by"\n'
        '        if seen.since is not None:\n            condition += " OR',
        (CREDITS,),
    ),
    Mutation(
        "reopened without a wait after each failure",
        _REOPEN,
        "if (in_vain := seen.fruitless - 1) > 0:",
        "if (in_vain := 0) > 0:",
        (REFUSED,),
        jumps=1,
    ),
    Mutation(
        "a mapping that was disabled by hand is never adopted",
        _REOPEN,
        "if by_hand and seen.paused_by != OPERATOR and self.item.adopt(seen):",
        "if not seen:",
        (BY_HAND,),
    ),
    Mutation(
        "reopened without a token",
        _INTAKE,
        "values,\n            condition,\n            token,\n        )",
        "values,\n            condition,\n            None,\n        )",
        (CREDITS, DOWN),
        faults=1,
    ),
    Mutation(
        "no probe: all may pay on probation",
        _INTAKE,
        "OR probe_until < :now OR probe = :token)",
        "OR attribute_exists(id) OR probe_until < :now OR probe = :token)",
        (DOWN, CREDITS),
    ),
    Mutation(
        "an item that cannot be read is taken for an open one",
        _INTAKE,
        """            raise StorageUnavailable(
                f"DynamoDB did not let the function look whether the intake is open ({error_code(error)})."
            ) from None""",
        "            seen = State()",
        (SLOTS,),
    ),
    Mutation(
        "on probation only failures of the probe pause the intake",
        _INTAKE,
        "if probe is None and state.reopened_at >= self._began:",
        "if probe is None:",
        (HEAD,),
    ),
    Mutation(
        "a success does not end the probation",
        _INTAKE,
        'f"REMOVE {_OF_A_PROBATION}, fruitless"',
        '"REMOVE probe, probe_until"',
        (CREDITS, OPERATOR),
    ),
    # The caps
    Mutation(
        "check, then act: the reservation does not depend on the count",
        _CAPS,
        'f"{name}_credits <= :{name}_room"',
        'f"({name}_credits <= :{name}_room OR {name}_credits > :{name}_room)"',
        (MIDNIGHT,),
    ),
    Mutation(
        "a credit is not given back",
        _LIMITER,
        "if slot.reserved and error.billed is Billed.NO:",
        "if slot.reserved and error.billed is None:",
        (GIVEN_BACK,),
    ),
    Mutation(
        "a credit is given back after a time-out",
        _LIMITER,
        "if slot.reserved and error.billed is Billed.NO:",
        "if slot.reserved and error.billed is not Billed.YES:",
        (ALONE,),
    ),
    Mutation(
        "the SDK repeats what gives a credit back",
        _LIMITER,
        "IntakeItem(self._clients.dynamodb_once, self._table)",
        "IntakeItem(self._clients.dynamodb, self._table)",
        (GIVEN_BACK,),
    ),
    Mutation("a day ends at midnight in UTC", _CAPS, "return ZoneInfo(name)", "return UTC", (MIDNIGHT,)),
    Mutation(
        "what is allowed never ends",
        _CAPS,
        'for of in ("extra", "reason", "change")]',
        'for of in ("reason", "change")]',
        (ALLOWED,),
    ),
    Mutation(
        "a request is sent though its day has ended",
        _LIMITER,
        "if time.time() >= slot.ends:",
        "if slot.ends < 0:",
        (MIDNIGHT,),
    ),
    Mutation(
        "the probe needs no credit",
        _INTAKE,
        "taken = self._item.take_probe(token, until, part)",
        "taken = self._item.take_probe(token, until, Part())",
        (AT_PROBATION,),
    ),
    Mutation(
        "the intake is not reopened at midnight",
        _REOPEN,
        "if reached := self.config.caps.reached(seen.counts, time.time()):",
        "if reached := self.config.caps.reached(seen.counts, seen.since or 0.0):",
        (MIDNIGHT,),
    ),
]


@contextlib.contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """The module's mutated source has run in its place, and those who import from it have what it made."""
    module = importlib.import_module(mutation.module)
    for name in wiring.MODULES:
        importlib.import_module(name)
    source = inspect.getsource(module)
    assert source.count(mutation.old) == 1, f"{mutation.name}: not what {mutation.module} has"
    before = dict(vars(module))
    exec(compile(source.replace(mutation.old, mutation.new), mutation.module, "exec"), vars(module))
    users = [(user, _names(user, module, before)) for name, user in sys.modules.items() if name in wiring.MODULES]
    try:
        for user, names in users:
            for name, of_module in names:
                setattr(user, name, vars(module)[of_module])
        yield
    finally:
        for user, names in users:
            for name, of_module in names:
                setattr(user, name, before[of_module])
        vars(module).clear()
        vars(module).update(before)


def _names(user: ModuleType, module: ModuleType, before: dict[str, object]) -> list[tuple[str, str]]:
    """What another module has imported from the one that is mutated."""
    if user is module:
        return []
    own = {
        name: value
        for name, value in before.items()
        if getattr(value, "__module__", None) == module.__name__ or (isinstance(value, str) and name.isupper())
    }
    return [
        (name, of_module)
        for name, value in vars(user).items()
        for of_module, mine in own.items()
        if value is mine and name == of_module
    ]


def find(mutation: Mutation, most_seconds: float) -> tuple[Found, int]:
    """The world that finds a mutation, with as few faults as that takes; and the states of all that were walked."""
    states = 0
    found = None
    with mutated(mutation), wiring.simulated():
        for name in mutation.worlds:
            world = BY_NAME[name]
            for faults, jumps in BUDGETS:
                if faults > max(world.faults, mutation.faults) or jumps > max(world.jumps, mutation.jumps):
                    continue
                found = explore(replace(world, faults=faults, jumps=jumps), most_seconds=most_seconds)
                states += found.states
                if found.violation and not is_limit(found.violation, most_seconds):
                    return found, states
    assert found
    return found, states


def is_limit(violation: str, seconds: float) -> bool:
    """Whether the search had no time left: that says nothing about the mutation. It does where a history never ends."""
    return violation == f"limit: {seconds:.0f} seconds"


BUDGETS = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1))  # faults and jumps of the clock, the cheapest first
