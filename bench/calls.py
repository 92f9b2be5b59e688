"""The AWS calls per upload, by what becomes of it: counted on the local cloud."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.report import Part, Table, as_text
from cutout.local.pixelcut.faults import Rule
from testbed.harness import BACKOFF, ENABLED, Testbed, await_end, deployed, picture

# Two rounds of four batches, the most at once, with an API that takes 3 s.
BACKLOG, API_SECONDS = 80, 3
TOO_SMALL = Path(__file__).parents[1] / "samples" / "too-small.jpg"
WAIT_SECONDS = 60
REASONS = {
    "HeadObject": "Is its cutout there already, or a foreign object? Before anything is paid.",
    "HeadBucket": "Is there an output bucket at all? Once for an environment.",
    "GetObject": "The first 64 KB, for the preflight; it also shows that an upload was deleted or replaced.",
    "UpdateItem": "The ledger: claim the upload; reserve the slot at the API (two calls if no upload waits, one in a "
    "queue, for all uploads of a batch that want one); write the paid result down. A failure is counted, and its "
    "upload's claim ended.",
    "PutObject": "The cutout.",
    "GetSecretValue": "The API key: once in five minutes for an environment.",
    "SendMessage": "The letter; or what is retried, as a new message with its backoff and its attempts.",
    "GetItem": "What earlier attempts have cost, for the letter of a later one.",
}


@dataclass(frozen=True, slots=True)
class Calls:
    """By action, for one upload."""

    backlog: Mapping[str, float]  # the mean, cold starts included
    success: Mapping[str, float]
    duplicate: Mapping[str, float]
    rejected: Mapping[str, float]
    retry: Mapping[str, float]  # both attempts


def count() -> Calls:
    with deployed({ENABLED: False, BACKOFF: 0}, parameters={}) as testbed:
        for number in range(BACKLOG):
            testbed.upload(f"{number}.jpg", picture(str(number)))
        testbed.stand_in.change_settings(latency_seconds=API_SECONDS)
        backlog = _during(testbed, testbed.open_intake)
        testbed.stand_in.change_settings(latency_seconds=0)
        success = _during(testbed, lambda: testbed.upload("one.jpg", picture("one")))
        (again,) = (body for (key, _), body in testbed.notifications.items() if key == "one.jpg")
        queue = testbed.outputs["UploadQueueUrl"]
        duplicate = _during(testbed, lambda: testbed.sqs.send_message(QueueUrl=queue, MessageBody=again))
        rejected = _during(testbed, lambda: testbed.upload("small.jpg", TOO_SMALL.read_bytes()))
        testbed.stand_in.set_faults(Rule(on="removal", times=1, status=503))
        retry = _during(testbed, lambda: testbed.upload("retry.jpg", picture("retry")))
        if len(testbed.cutouts()) != BACKLOG + 2 or len(testbed.take_letters()) != 1:
            raise RuntimeError("An upload did not end as it should")
    mean = {action: calls / BACKLOG for action, calls in backlog.items()}
    return Calls(mean, success, duplicate, rejected, retry)


def _during(testbed: Testbed, act: Callable[[], object]) -> Mapping[str, float]:
    """The calls until all messages are handled."""
    testbed.cloud.clear_calls()
    act()
    if not await_end(lambda: testbed.waiting == 0, WAIT_SECONDS):
        raise RuntimeError(f"{testbed.waiting} messages are left in the queue")
    return testbed.cloud.calls()


def measure(calls: Calls | None = None) -> Part:
    calls = calls or count()
    columns = (calls.success, calls.backlog, calls.duplicate, calls.rejected, calls.retry)
    actions = sorted(set[str]().union(*columns), key=list(REASONS).index)
    rows = [(action, *(_cell(column, action) for column in columns), REASONS[action]) for action in actions]
    rows.append(("all", *(f"{sum(column.values()):.3g}" for column in columns), ""))
    head = ("", "success", f"of {BACKLOG} in a backlog", "duplicate", "rejected", "retry after a 503", "what for")
    return Part(
        "Calls per image",
        [Table("Calls of the function to AWS for one upload, warm; in a backlog with the cold starts:", head, rows)],
        notes=[
            (
                "Not the function's: S3 sends the message; Lambda receives ten messages with one call and deletes "
                "ten with one; Pixelcut fetches the image by the presigned URL."
            ),
            (
                "A failed attempt makes up to six updates (claim, slot, what it has cost, the failures in a row: two "
                "where they begin), the success after it up to six (the claim takes two, and the failures end)."
            ),
            (
                "Removed: slots that each thread took for itself (up to 20 updates for ten images, now two); the "
                "key read by each thread. Not needed: the ledger is not read before its claim, as a claim that is "
                "refused answers with the item; the source is not asked for its size, as its first bytes come with it."
            ),
        ],
    )


def _cell(calls: Mapping[str, float], action: str) -> str:
    return f"{calls[action]:.3g}" if action in calls else ""


if __name__ == "__main__":
    print(as_text(measure()))
