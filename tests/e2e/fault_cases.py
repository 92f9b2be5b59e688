"""What goes wrong in one step of an upload's life, and the promise: how the upload ends, and what it costs.

A kill is SIGKILL to the process of the execution environment. `lost` means that the call took effect but its answer was
lost: the SDK repeats the call. A paid call whose answer is lost cannot be reused: its result is unknown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cutout.local.aws.event_faults import EventFault
from cutout.local.aws.middleware import AwsFault
from cutout.local.lambda_runtime.delivery_faults import DeliveryFault
from cutout.local.pixelcut.faults import Rule

Fault = AwsFault | Rule | DeliveryFault | EventFault
UNCHANGED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Case:
    fault: Fault | None
    ends: str  # "cutout", the code of a letter, or "paused": it waits in the queue
    paid: int
    asked: int
    billed: str = ""  # in the letter
    also: Fault | None = None  # what goes wrong besides, so that there is a call to fail
    changes: Mapping[str, str] = field(default_factory=lambda: UNCHANGED)  # of the template, for a separate stack
    reopened: bool = False  # ReopenIntake runs meanwhile


def aws(action: str, key: str, *contains: str, **how: Any) -> AwsFault:  # noqa: ANN401  # of AwsFault
    """A fault of one call about one upload: S3 names it in the path, the others in the body."""
    if action in ("HeadObject", "GetObject", "PutObject"):
        return AwsFault(action, resource=f"/{key}.", **how)
    name = f":{key}." if action == "UpdateItem" else f"/{key}."  # an item's key is the output key
    return AwsFault(action, contains=(name, *contains), **how)


def own(action: str, name: str, *contains: str, resource: str = "", **how: Any) -> AwsFault:  # noqa: ANN401  # of AwsFault
    """A fault of a call that names no upload; it names a resource of its stack, which is named after the case."""
    return AwsFault(action, resource=f"{name}-{resource}", contains=contains, **how)


def answers(name: str, **how: Any) -> Rule:  # noqa: ANN401  # of Rule
    return Rule(on="removal", source=f"/{name}.", **how)


def result(name: str, **how: Any) -> Rule:  # noqa: ANN401  # of Rule
    return Rule(on="download", source=f"/{name}.", **how)


HANGS = 30  # seconds for which an answer is held back: longer than an invocation may take
HANDFUL = 5  # requests at most, where the intake is to be paused
ALWAYS: dict[str, Any] = {"times": None}
TIMES_OUT: dict[str, Any] = {"delay_seconds": HANGS}
TIMES_OUT_AFTER: dict[str, Any] = {"delay_seconds": HANGS, "after": True}
KILLED_AFTER: dict[str, Any] = {"kill": True, "after": True}
LOST: dict[str, Any] = {"drop": True, "after": True}
# More often than the SDK repeats a call.
THROTTLED: dict[str, Any] = {"status": 400, "code": "ProvisionedThroughputExceededException", "times": 4}
PAGE: dict[str, Any] = {"status": 502, "page": "<html><hr><h1>Bad Gateway</h1></html>", "times": 4}
CHARGED: dict[str, Any] = {"after": True}
HTML: dict[str, Any] = {"body": "<html><h1>403 Forbidden</h1></html>", "headers": {"Content-Type": "text/html"}}
RENAMED = json.dumps({"resultUrl": "https://example.invalid/a.png"})

OTHER_TWIN = "the other twin"  # whichever of twin.png and twin.jpg comes second

# Updates of the ledger's item, by what their expressions hold.
CLAIM, KEEP, GIVE_BACK, REUSE = "SET #source", "SET result_url", "SET billed", "SET writing_until"
FORGET, CLOSE = 'REMOVE result_url, valid_until"', "SET ended_at"
# Of the intake's item.
SLOT, PAUSE = "next_at", "SET paused_by"

# All of these share a stack.
CASES = {
    # Is it done already?
    "find-once": Case(aws("HeadObject", "find-once"), "cutout", 1, 1),
    "find-always": Case(aws("HeadObject", "find-always", **ALWAYS), "storage_unavailable", 0, 0, "no"),
    "find-times-out": Case(aws("HeadObject", "find-times-out", **TIMES_OUT), "cutout", 1, 1),
    "find-killed": Case(aws("HeadObject", "find-killed", **KILLED_AFTER), "cutout", 1, 1),
    # The look at the source
    "look-once": Case(aws("GetObject", "look-once"), "cutout", 1, 1),
    "look-always": Case(aws("GetObject", "look-always", **ALWAYS), "storage_unavailable", 0, 0, "no"),
    "look-page": Case(aws("GetObject", "look-page", **PAGE), "cutout", 1, 1),
    "look-times-out": Case(aws("GetObject", "look-times-out", **TIMES_OUT), "cutout", 1, 1),
    "look-killed": Case(aws("GetObject", "look-killed", **KILLED_AFTER), "cutout", 1, 1),
    # The ledger: the right to pay
    "claim-once": Case(aws("UpdateItem", "claim-once", CLAIM), "cutout", 1, 1),
    "claim-always": Case(aws("UpdateItem", "claim-always", CLAIM, **ALWAYS), "storage_unavailable", 0, 0, "no"),
    "claim-throttled": Case(aws("UpdateItem", "claim-throttled", CLAIM, **THROTTLED), "cutout", 1, 1),
    "claim-page": Case(aws("UpdateItem", "claim-page", CLAIM, **PAGE), "cutout", 1, 1),
    "claim-times-out": Case(aws("UpdateItem", "claim-times-out", CLAIM, **TIMES_OUT_AFTER), "cutout", 1, 1),
    "claim-killed": Case(aws("UpdateItem", "claim-killed", CLAIM, **KILLED_AFTER), "cutout", 1, 1),
    "claim-lost": Case(aws("UpdateItem", "claim-lost", CLAIM, **LOST), "cutout", 1, 1),
    # The paid call
    "pay-once": Case(answers("pay-once", times=1, status=500), "cutout", 1, 2),
    "pay-always": Case(answers("pay-always", status=500), "service_unavailable", 0, 5, "maybe"),
    "pay-throttled": Case(answers("pay-throttled", times=7, status=429), "cutout", 1, 8),
    "pay-refused": Case(answers("pay-refused", status=400, error_code="a_new_code"), "a_new_code", 0, 2, "maybe"),
    "pay-forbidden": Case(answers("pay-forbidden", status=403, **HTML), "forbidden", 0, 5, "no"),
    "pay-renamed": Case(
        answers("pay-renamed", status=200, body=RENAMED, **CHARGED), "unexpected_answer", 2, 2, "yes"
    ),
    "pay-renamed-1": Case(answers("pay-renamed-1", times=1, status=200, body=RENAMED, **CHARGED), "cutout", 2, 2),
    "pay-dropped": Case(answers("pay-dropped", times=1, drop=True), "cutout", 1, 2),
    "pay-dropped-late": Case(answers("pay-dropped-late", times=1, cut=0, **CHARGED), "cutout", 2, 2),
    "pay-times-out": Case(answers("pay-times-out", times=1, **TIMES_OUT_AFTER), "cutout", 2, 2),
    "pay-lost-always": Case(answers("pay-lost-always", drop=True, **CHARGED), "service_unavailable", 2, 2, "maybe"),
    "pay-killed": Case(aws("UpdateItem", "pay-killed", KEEP, kill=True), "cutout", 2, 2),
    "pay-killed-always": Case(
        aws("UpdateItem", "pay-killed-always", KEEP, kill=True, **ALWAYS), "unexpected_error", 2, 2, "maybe"
    ),
    # The ledger: what became of the call
    "keep-once": Case(aws("UpdateItem", "keep-once", KEEP), "cutout", 1, 1),
    "keep-always": Case(aws("UpdateItem", "keep-always", KEEP, **ALWAYS), "cutout", 1, 1),
    "keep-times-out": Case(aws("UpdateItem", "keep-times-out", KEEP, **TIMES_OUT_AFTER), "cutout", 1, 1),
    "keep-killed": Case(aws("UpdateItem", "keep-killed", KEEP, **KILLED_AFTER), "cutout", 1, 1),
    "keep-lost": Case(aws("UpdateItem", "keep-lost", KEEP, **LOST), "cutout", 1, 1),
    **{
        f"give-back-{name}": Case(
            aws("UpdateItem", f"give-back-{name}", GIVE_BACK, **how),
            "cutout", 1, 2, also=answers(f"give-back-{name}", times=1, status=500),
        )
        for name, how in {"once": {}, "always": ALWAYS, "killed": KILLED_AFTER, "lost": LOST}.items()
    },
    # The result
    "fetch-once": Case(result("fetch-once", times=1, status=503), "cutout", 1, 1),
    "fetch-always": Case(result("fetch-always", status=503), "result_unavailable", 1, 1, "yes"),
    "fetch-times-out": Case(result("fetch-times-out", times=1, delay_seconds=HANGS), "cutout", 1, 1),
    "fetch-cut": Case(result("fetch-cut", times=4, cut=0.5), "cutout", 1, 1),
    "fetch-dropped-late": Case(result("fetch-dropped-late", times=4, cut=0), "cutout", 1, 1),
    "fetch-gone-once": Case(result("fetch-gone-once", times=1, status=404), "cutout", 1, 1),
    "fetch-gone": Case(result("fetch-gone", times=3, status=404), "cutout", 2, 2),
    "fetch-always-gone": Case(result("fetch-always-gone", status=404), "result_gone", 2, 2, "yes"),
    "fetch-killed": Case(aws("PutObject", "fetch-killed", kill=True), "cutout", 1, 1),
    # The ledger: a paid result is reused, or forgotten
    **{
        f"reuse-{name}": Case(
            aws("UpdateItem", f"reuse-{name}", REUSE, **how),
            "cutout", 1, 1, also=result(f"reuse-{name}", times=3, status=503),
        )
        for name, how in {"once": {}, "throttled": THROTTLED, "killed": KILLED_AFTER, "lost": LOST}.items()
    },
    "forget-once": Case(
        aws("UpdateItem", "forget-once", FORGET), "cutout", 2, 2, also=result("forget-once", times=3, status=404)
    ),
    "forget-lost": Case(
        aws("UpdateItem", "forget-lost", FORGET, **LOST),
        "cutout", 2, 2, also=result("forget-lost", times=3, status=404),
    ),
    "forget-always": Case(
        aws("UpdateItem", "forget-always", FORGET, **ALWAYS),
        "result_gone", 1, 1, "yes", also=result("forget-always", status=404),
    ),
    # The cutout
    "write-once": Case(aws("PutObject", "write-once"), "cutout", 1, 1),
    "write-always": Case(
        aws("PutObject", "write-always", **ALWAYS, status=403, code="AccessDenied"),
        "storage_unavailable", 1, 1, "yes",
    ),
    "write-conflict": Case(
        aws("PutObject", "write-conflict", times=4, status=409, code="ConditionalRequestConflict"), "cutout", 1, 1
    ),
    "write-page": Case(aws("PutObject", "write-page", **PAGE), "cutout", 1, 1),
    "write-times-out": Case(aws("PutObject", "write-times-out", **TIMES_OUT_AFTER), "cutout", 1, 1),
    "write-killed": Case(aws("PutObject", "write-killed", **KILLED_AFTER), "cutout", 1, 1),
    "write-lost": Case(aws("PutObject", "write-lost", **LOST), "cutout", 1, 1),
    # The letter of an image that is too small. It may be written twice, but is never lost.
    "letter-once": Case(aws("SendMessage", "letter-once"), "resolution_too_low", 0, 0, "no"),
    "letter-always": Case(aws("SendMessage", "letter-always", **ALWAYS), "moved by SQS", 0, 0),
    "letter-times-out": Case(aws("SendMessage", "letter-times-out", **TIMES_OUT), "resolution_too_low", 0, 0, "no"),
    "letter-killed": Case(aws("SendMessage", "letter-killed", **KILLED_AFTER), "resolution_too_low", 0, 0, "no"),
    "letter-lost": Case(aws("SendMessage", "letter-lost", **LOST), "resolution_too_low", 0, 0, "no"),
    # The ledger: a letter is written
    "close-always": Case(
        aws("UpdateItem", "close-always", CLOSE, **ALWAYS),
        "result_unavailable", 1, 1, "yes", also=result("close-always", status=503),
    ),
    # S3's event says nothing about the version, or an empty text.
    "event-bare": Case(EventFault("event-bare", without=("versionId", "sequencer", "size")), "cutout", 1, 1),
    "event-empty": Case(EventFault("event-empty", empty=("versionId", "sequencer")), "cutout", 1, 1),
    # Nothing goes wrong, or the queue delivers what was deleted.
    "well": Case(None, "cutout", 1, 1),
    "delivered-again": Case(DeliveryFault("repeated", contains="delivered-again.png", times=2), "cutout", 1, 1),
    # Two uploads of one output key at the same time: one is paid for, and the other is told.
    "twin": Case(None, "cutout", 1, 1),
    OTHER_TWIN: Case(None, "output_key_conflict", 0, 0, "no"),
}  # fmt: skip

# All of these share a stack with batches of ten: a slow peer harms only its own upload, and stops no invocation.
SLOW_CASES = {
    "slow-headers": Case(answers("slow-headers", times=1, header_bytes_per_second=1, **CHARGED), "cutout", 2, 2),
    "slow-body": Case(answers("slow-body", times=1, bytes_per_second=1, **CHARGED), "cutout", 2, 2),
    "slow-stalled": Case(answers("slow-stalled", times=1, stall_after=0, **CHARGED), "cutout", 2, 2),
    "slow-always": Case(answers("slow-always", stall_after=5, **CHARGED), "service_unavailable", 2, 2, "maybe"),
    "slow-result-headers": Case(result("slow-result-headers", times=1, header_bytes_per_second=1), "cutout", 1, 1),
    "slow-result-body": Case(result("slow-result-body", times=1, bytes_per_second=20), "cutout", 1, 1),
    "slow-result-stalled": Case(result("slow-result-stalled", times=1, stall_after=100), "cutout", 1, 1),
    "slow-result-always": Case(result("slow-result-always", bytes_per_second=1), "result_unavailable", 1, 1, "yes"),
    **{f"slow-neighbour-{number}": Case(None, "cutout", 1, 1) for number in range(4)},
}

QUEUE: dict[str, Any] = {"resource": "UploadQueue"}
NOTHING_PAID = ("storage_unavailable", 0, 0, "no")
MAPPING = "UpdateEventSourceMapping"  # its path has the mapping's id only: the resource is filled in

# Each of these has its own stack.
OWN_CASES = {
    # The API key
    "secret-once": Case(own("GetSecretValue", "secret-once"), "cutout", 1, 1),
    "secret-always": Case(own("GetSecretValue", "secret-always", **ALWAYS), *NOTHING_PAID),
    "secret-times-out": Case(own("GetSecretValue", "secret-times-out", **TIMES_OUT), "cutout", 1, 1),
    "secret-killed": Case(own("GetSecretValue", "secret-killed", **KILLED_AFTER), "cutout", 1, 1),
    # The slot of a request
    "slot-once": Case(own("UpdateItem", "slot-once", SLOT), "cutout", 1, 1),
    "slot-always": Case(own("UpdateItem", "slot-always", SLOT, **ALWAYS), *NOTHING_PAID),
    "slot-throttled": Case(own("UpdateItem", "slot-throttled", SLOT, **THROTTLED), "cutout", 1, 1),
    "slot-times-out": Case(own("UpdateItem", "slot-times-out", SLOT, **TIMES_OUT_AFTER), "cutout", 1, 1),
    "slot-killed": Case(own("UpdateItem", "slot-killed", SLOT, **KILLED_AFTER), "cutout", 1, 1),
    "slot-lost": Case(own("UpdateItem", "slot-lost", SLOT, **LOST), "cutout", 1, 1),
    # The new message for an upload that is retried. It may be sent twice; the cutout is made once. If it cannot be
    # sent, the old one returns after the queue's visibility timeout.
    **{
        f"back-{name}": Case(
            own("SendMessage", f"back-{name}", **QUEUE, **how),
            "cutout", 1, 2, also=answers(f"back-{name}", times=1, status=429),
        )
        for name, how in {
            "once": {}, "always": ALWAYS, "times-out": TIMES_OUT, "killed": KILLED_AFTER, "lost": LOST
        }.items()
    },
    # The pause of the intake. If it always fails, the upload is retried after each backoff, without an end.
    **{
        f"pause-{name}": Case(
            own("UpdateItem", f"pause-{name}", PAUSE, **how),
            "paused", 0, 1, also=answers(f"pause-{name}", status=403),
        )
        for name, how in {"once": {}, "times-out": TIMES_OUT_AFTER, "killed": KILLED_AFTER, "lost": LOST}.items()
    },
    # The mapping follows the pause and the reopening, whatever happens to the call that switches it.
    **{
        f"reopen-{name}": Case(
            AwsFault(MAPPING, **how),
            "cutout", 1, 2, also=answers(f"reopen-{name}", times=1, status=403), reopened=True,
        )
        for name, how in {
            "once": {},
            "busy": {"status": 400, "code": "ResourceInUseException", "times": 3},
            "killed": KILLED_AFTER,
            "lost": LOST,
        }.items()
    },
    # Receives that never reach the function use up no attempts: this one needs all five, after seven of them.
    "throttled": Case(
        DeliveryFault("throttled", contains='"throttled.png"', times=7),  # quoted: not of `claim-throttled.png`
        "cutout", 1, 5, also=answers("throttled", times=4, status=500),
        changes=MappingProxyType({"VisibilityTimeout: 18": "VisibilityTimeout: 5", "Count: 3": "Count: 1000"}),
    ),
}  # fmt: skip

ALL_CASES = CASES | SLOW_CASES | OWN_CASES
