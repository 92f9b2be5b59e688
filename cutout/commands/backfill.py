"""`cutout backfill`: the inputs compared with their cutouts and letters, and those with neither enqueued."""

import itertools
import json
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import quote_plus

import typer

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName
from cutout.failures import Failure
from cutout.operations import credits as balance
from cutout.operations import deployment, objects, output_keys, queues
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import THREADS, Deployment
from cutout.presentation.letters import read_letters
from cutout.terminal import print_json, printable, progress
from cutout.words import count
from remove_background.errors import OutputKeyTooLong
from remove_background.letters import notification
from remove_background.models import Cutout
from remove_background.output_key import OutputKey
from remove_background.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectTypeDef

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that are on their way at a time: enough for all threads while the next page of the listing comes.
WINDOW = 16 * THREADS
BATCH = 10  # SQS takes no more at a time
# For messages that SQS refuses out of a batch; seconds between the first two, doubled from one to the next.
ATTEMPTS = 5
PAUSE_SECONDS = 0.1
EXAMPLES = 3
EXAMPLE_LENGTH = 60
# Not to be read before they are restored:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/archived-objects.html
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")


class Finding(StrEnum):
    """What an input is found to be."""

    CURRENT = "current"
    MISSING = "missing"  # nothing stands under its output key
    STALE = "stale"  # the cutout of an older upload of its key does
    CONFLICT = "conflicts"  # something else does
    TOO_LONG = "too_long"  # its output key would be
    ARCHIVED = "archived"  # it has no current cutout, and cannot be read
    LETTER = "letters"  # it has no current cutout, but a letter: enqueued, it would only get another


WANTED = (Finding.MISSING, Finding.STALE)
REASONS = {
    Finding.CONFLICT: "whose output key is taken by another upload's cutout, or by an object that is no cutout",
    Finding.TOO_LONG: "whose output key would be longer than the 1,024 bytes that S3 allows",
    Finding.ARCHIVED: f"that must be restored first, as their storage class is {' or '.join(ARCHIVES)}",
    Finding.LETTER: "that have a letter (see `cutout letters list`)",
}


@dataclass
class Comparison:
    """`examples` are the first keys of what is not to be enqueued."""

    counts: Counter[Finding] = field(default_factory=Counter)
    examples: defaultdict[Finding, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def wanted(self) -> int:
        """How many are to be enqueued."""
        return sum(self.counts[finding] for finding in WANTED)

    def add(self, finding: Finding, key: str) -> None:
        self.counts[finding] += 1
        if finding in REASONS and len(self.examples[finding]) < EXAMPLES:
            self.examples[finding].append(key)


def backfill(
    prefix: Annotated[str, typer.Option(help="Look only at inputs whose keys begin with this.")] = "",
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Annotated[bool, typer.Option("--yes", help="Enqueue them. Otherwise they are only counted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell which inputs have no current cutout, and enqueue them.

    Each costs a credit at most. Started again, it skips what has a cutout by then. What has a letter is left to
    `cutout letters`.

    Example: cutout backfill --prefix photos/ --yes
    """
    deployed = deployment.find(stack_name, endpoint_url)
    output_key = output_keys.output_key(deployed)
    taken = deployed.settings["INPUT_PREFIX"]  # uploads elsewhere in the bucket are not the stack's
    if not taken.startswith(prefix) and not prefix.startswith(taken):
        raise typer.BadParameter(f"the stack takes only keys that begin with {taken}.", param_hint="--prefix")
    prefix = max(prefix, taken, key=len)
    lettered, hidden = _read_letters(deployed)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as wanted:
        found = _compare(deployed, prefix, output_key, lettered, wanted)
        credits_left = balance.read(deployed)
        for line in _report(found, credits_left, queues.count(deployed.sqs, deployed.upload_queue)):
            typer.echo(line, err=as_json)
        if hidden:
            typer.echo(
                f"{count(hidden, 'letter')} could not be looked at: an upload with one counts as missing.", err=True
            )
        enqueuer = Enqueuer(deployed)
        try:
            if yes:
                wanted.seek(0)
                enqueuer.send(wanted, found.wanted)
        except KeyboardInterrupt:
            typer.echo(
                "Interrupted. Let the queue become empty before you start it again: it skips what has a cutout or a "
                "letter then.",
                err=True,
            )
            raise
        finally:
            if as_json:
                print_json(
                    {"inputs": found.counts.total()}
                    | {finding.value: found.counts[finding] for finding in Finding}
                    | {
                        "letters_hidden": hidden,
                        "enqueued": enqueuer.enqueued,
                        "credits_left": credits_left if isinstance(credits_left, float) else None,
                    }
                )
            elif yes:
                typer.echo(f"{enqueuer.enqueued:,} of {found.wanted:,} were enqueued.")
            elif found.wanted:
                typer.echo("Nothing was enqueued: add --yes.")
    if enqueuer.refused:
        raise Failure(
            f"SQS did not take {enqueuer.refused.total():,} ({', '.join(enqueuer.refused)}). "
            "Let the queue become empty, and call the command again."
        )


def _read_letters(deployed: Deployment) -> tuple[Set[tuple[str, str]], int]:
    """URI and ETag of each upload that has a letter; and how many letters another command hides."""
    uploads: set[tuple[str, str]] = set()

    def look(letter: Letter) -> None:
        uploads.update((upload.uri, upload.etag) for upload in letter.uploads)

    hidden = read_letters(deployed, look)
    return uploads, hidden


def _compare(
    deployed: Deployment, prefix: str, output_key: OutputKey, lettered: Set[tuple[str, str]], wanted: IO[str]
) -> Comparison:
    """Writes the key, ETag and size of each input that is to be enqueued to `wanted`, as a line of JSON."""
    # To the HEAD of an object, a bucket that is gone is one where nothing stands.
    deployed.s3.head_bucket(Bucket=deployed.output_bucket)
    found = Comparison()

    def judge(listed: "ObjectTypeDef") -> tuple[Finding, Upload]:
        upload = Upload(deployed.input_bucket, listed["Key"], listed["ETag"].strip('"'), size=listed["Size"])
        try:
            finding = _judge(upload, _find_cutout(deployed, output_key.of(upload.key)))
        except OutputKeyTooLong:
            finding = Finding.TOO_LONG
        if finding in WANTED and _is_archived(listed):
            finding = Finding.ARCHIVED
        if finding in WANTED and (upload.uri, upload.etag) in lettered:
            finding = Finding.LETTER
        return finding, upload

    with progress() as bar:
        task = bar.add_task("Looking", total=None)

        def note(judged: tuple[Finding, Upload]) -> None:
            finding, upload = judged
            found.add(finding, upload.key)
            if finding in WANTED:
                print(json.dumps([upload.key, upload.etag, upload.size]), file=wanted)
            bar.advance(task)

        _work_through(_list(deployed, prefix), judge, note)
    return found


def _list(deployed: Deployment, prefix: str) -> "Iterator[ObjectTypeDef]":
    pages = deployed.s3.get_paginator("list_objects_v2").paginate(
        Bucket=deployed.input_bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"]
    )
    for page in pages:
        # A folder that S3's console makes is an empty object.
        yield from (listed for listed in page.get("Contents", []) if listed["Size"] or not listed["Key"].endswith("/"))


def _find_cutout(deployed: Deployment, key: str) -> Cutout | None:
    found = objects.head(deployed.s3, deployed.output_bucket, key)
    return None if found is None else Cutout.from_metadata(found["ETag"], found["Metadata"])


def _judge(upload: Upload, cutout: Cutout | None) -> Finding:
    if cutout is None:
        return Finding.MISSING
    if not cutout.is_of_key(upload):
        return Finding.CONFLICT
    return Finding.CURRENT if cutout.is_of(upload) else Finding.STALE


def _is_archived(listed: "ObjectTypeDef") -> bool:
    restored = "RestoreExpiryDate" in listed.get("RestoreStatus", {})
    return listed.get("StorageClass") in ARCHIVES and not restored


class Enqueuer:
    """Sends uploads to the queue; `enqueued` is right also where it was interrupted, `refused` counts by SQS's code.

    Whether the uploads are still there, the function finds out by their ETags: it needs no version.
    """

    def __init__(self, deployed: Deployment) -> None:
        self._deployed = deployed
        self._lock = threading.Lock()
        self.enqueued = 0
        self.refused: Counter[str] = Counter()

    def send(self, lines: Iterable[str], total: int) -> None:
        """`lines` as `_compare` writes them."""
        with progress() as bar:
            task = bar.add_task("Enqueuing", total=total)
            _work_through(_in_batches(lines), self._send, lambda sent: bar.advance(task, sent))

    def _send(self, lines: list[str]) -> int:
        left = {str(number): self._message(line) for number, line in enumerate(lines)}
        failed: dict[str, str] = {}  # SQS's code, by the message's number
        for attempt in range(ATTEMPTS):
            if failed:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            answer = self._deployed.sqs.send_message_batch(
                QueueUrl=self._deployed.upload_queue,
                Entries=[{"Id": number, "MessageBody": body} for number, body in left.items()],
            )
            failed = {failure["Id"]: failure["Code"] for failure in answer.get("Failed", [])}
            with self._lock:
                self.enqueued += len(left) - len(failed)
            if not failed:
                break
            left = {number: left[number] for number in failed}
        with self._lock:
            self.refused.update(failed.values())
        return len(lines)

    def _message(self, line: str) -> str:
        """As S3 would have sent it, but for the version and the sequencer, which a listing does not tell."""
        key, etag, size = json.loads(line)
        about = {"key": quote_plus(key, safe="/"), "eTag": etag, "size": size}
        bucket = {"name": self._deployed.input_bucket}
        return notification(
            [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Backfill",
                    "s3": {"bucket": bucket, "object": about},
                }
            ]
        )


def _in_batches(lines: Iterable[str]) -> Iterator[list[str]]:
    lines = iter(lines)
    while batch := list(itertools.islice(lines, BATCH)):
        yield batch


def _work_through(items: Iterable[Item], work: Callable[[Item], Result], note: Callable[[Result], None]) -> None:
    """`work` on each item, in several threads, and `note` of what it returns, in this one and in order.

    When one of them raises, or Ctrl-C does, what has begun is finished, and nothing else is begun.
    """
    threads = ThreadPoolExecutor(THREADS)
    on_their_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            on_their_way.append(threads.submit(work, item))
            if len(on_their_way) == WINDOW:
                note(on_their_way.popleft().result())
        while on_their_way:
            note(on_their_way.popleft().result())
    finally:
        threads.shutdown(cancel_futures=True)


def _report(found: Comparison, credits_left: float | str, queue: queues.Counts) -> Iterator[str]:
    inputs, wanted = found.counts.total(), found.wanted
    if wanted:
        yield (
            f"{wanted:,} of {inputs:,} inputs have no current cutout "
            f"({found.counts[Finding.MISSING]:,} missing, {found.counts[Finding.STALE]:,} stale)."
        )
    elif inputs:
        yield f"{found.counts[Finding.CURRENT]:,} of {inputs:,} inputs have a current cutout."
    else:
        yield "There are no such inputs."
    for finding, reason in REASONS.items():
        if number := found.counts[finding]:
            examples = ", ".join(map(_example, found.examples[finding]))
            yield f"Not enqueued: {number:,} {reason}: {examples}{', ...' if number > EXAMPLES else ''}"
    if not wanted:
        return
    cost = f"Enqueuing {wanted:,} costs {wanted:,} credits at most"
    if isinstance(credits_left, str):
        yield f"{cost}. How many are left is not known: {credits_left}"
    else:
        yield f"{cost}; {credits_left:,.0f} are left."
        if credits_left < wanted:
            yield "Those may not do: when they are used up, the intake is paused, and the rest waits in the queue."
    if waiting := queue.waiting + queue.in_work + queue.delayed:
        yield (
            f"{waiting:,} messages are in the queue already, and may be of the same uploads. Rather wait until "
            "`cutout status` shows that it is empty; what is enqueued twice is paid once, though."
        )


def _example(key: str) -> str:
    """A key, not too long for a line of a terminal."""
    return printable(key if len(key) <= EXAMPLE_LENGTH else f"{key[:EXAMPLE_LENGTH]}[...]")
