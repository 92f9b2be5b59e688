"""What is known about one upload: its key, its cutout, its attempts, what was paid, its letters.

Nothing is changed. Each part is read for itself: where one cannot be read, the others still are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from cutout.failures import Failure, describe, is_told
from cutout.operations import attempts, comparison, dead_letters, logs, objects, output_keys, queues
from cutout.operations import intake as stack_intake
from cutout.operations.attempts import LETTER, NOT_WRITTEN, UNAVAILABLE, Attempt
from cutout.operations.comparison import Finding
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.intake import Intake
from cutout.operations.logs import Wanted
from cutout.operations.progress import Progress
from cutout.operations.queues import Counts
from remove_background import rejections
from remove_background.errors import OutputKeyTooLong
from remove_background.ledger import KEPT_SECONDS, Seen, key_of
from remove_background.models import Cutout
from remove_background.output_key import MAX_KEY_BYTES
from remove_background.uploads import Upload

Result = TypeVar("Result")

_SCHEME = "s3://"
VERSIONS = 10  # of the key that are listed, the newest
# The letters that are looked at, at most, are ten times as many.
RECEIVES = 100
VISIBILITY_SECONDS = 30


class Part(StrEnum):
    """What is read."""

    INPUT = "input"
    VERSIONS = "versions"
    OUTPUT = "output"
    LOG = "log"
    RETENTION = "retention"
    LEDGER = "ledger"
    REJECTION = "rejection"
    LETTERS = "letters"
    QUEUE = "queue"
    INTAKE = "intake"


class Happened(StrEnum):
    """What happened to an upload, as far as is known."""

    NEVER_UPLOADED = "never_uploaded"
    DELETED = "deleted"
    NOT_TAKEN = "not_taken"  # a folder, or outside InputPrefix
    CUTOUT = "cutout"
    LETTER = "letter"
    REJECTED = "rejected"  # for good, and its letter was not found
    CONFLICT = "conflict"  # something else stands under its output key
    IN_FLIGHT = "in_flight"
    WAITING = "waiting"
    UNFINISHED = "unfinished"  # neither cutout nor letter was found, and nothing waits
    UNKNOWN = "unknown"


class Put(NamedTuple):
    """An upload to the key, or its deletion, as S3 remembers them."""

    time: datetime
    version: str | None
    etag: str | None = None
    size: int | None = None

    @property
    def is_deletion(self) -> bool:
        return self.etag is None


class Standing(NamedTuple):
    """The object under the output key."""

    cutout: Cutout
    size: int
    written: datetime


class Rejection(NamedTuple):
    etag: str
    code: str


@dataclass(slots=True)
class Explanation:
    """`output_key` is None where it would be too long. `unknown` says why a part could not be read."""

    upload: Upload  # what stands under the key; of no ETag if nothing does
    output_key: str | None
    is_taken: bool  # by the function: it is neither a folder nor outside InputPrefix
    asked: datetime
    puts: Sequence[Put] = ()  # the newest first
    standing: Standing | None = None
    attempts: Sequence[Attempt] = ()  # the oldest first
    log_since: datetime | None = None
    log_days: int | None = None  # for which the log is kept
    seen: Seen | None = None  # the ledger's item of the output key
    rejection: Rejection | None = None
    letters: Sequence[Letter] = ()
    letters_unread: int = 0
    queue: Counts | None = None
    intake: Intake | None = None
    unknown: dict[Part, str] = field(default_factory=dict)

    @property
    def is_there(self) -> bool:
        return bool(self.upload.etag)

    @property
    def uploaded(self) -> datetime | None:
        """When what stands under the key was put there."""
        return None if self.upload.time is None else datetime.fromtimestamp(self.upload.time, UTC)

    @property
    def finding(self) -> Finding:
        if self.output_key is None:
            return Finding.TOO_LONG
        return comparison.judge(self.upload, self.standing.cutout if self.standing else None)

    @property
    def account(self) -> Seen | None:
        """The ledger's item, if it is about what stands under the key."""
        return self.seen if self.seen and self.is_there and self.seen.is_about(self.upload) else None

    @property
    def letter(self) -> Letter | None:
        """The newest letter about what stands under the key."""
        return max(filter(self.is_about_current, self.letters), key=lambda letter: letter.sent, default=None)

    def is_about_current(self, letter: Letter) -> bool:
        """Whether a letter is about what stands under the key. A backfill's events name no version."""
        now = self.upload
        return any(
            (upload.uri, upload.etag) == (now.uri, now.etag) and upload.version_id in (None, "null", now.version_id)
            for upload in letter.uploads
        )

    @property
    def is_rejected(self) -> bool:
        return self.rejection is not None and self.rejection.etag == self.upload.etag

    @property
    def current_attempts(self) -> list[Attempt]:
        """Those since what stands under the key was put there; in a log, nothing else tells uploads of a key apart."""
        since = self.uploaded
        return [attempt for attempt in self.attempts if since is None or attempt.time >= since]

    @property
    def log_misses(self) -> bool:
        """Whether lines about what stands under the key may be gone, or were not asked for."""
        kept_since = self.asked - timedelta(days=self.log_days) if self.log_days else None
        starts = [start for start in (kept_since, self.log_since) if start]
        second = timedelta(seconds=1)  # S3 tells no less
        return self.uploaded is not None and any(self.uploaded < start - second for start in starts)

    @property
    def happened(self) -> Happened:
        if Part.INPUT in self.unknown:
            return Happened.UNKNOWN
        if not self.is_there:
            return Happened.DELETED if self._was_there else Happened.NEVER_UPLOADED
        if not self.is_taken:
            return Happened.NOT_TAKEN
        if Part.OUTPUT in self.unknown:
            return Happened.UNKNOWN
        if self.finding is Finding.CURRENT:
            return Happened.CUTOUT
        if self.letter:
            return Happened.LETTER
        return self._unended

    @property
    def _was_there(self) -> bool:
        of_key = self.seen is not None and self.seen.is_of_key(self.upload)
        return bool(
            self.puts or self.attempts or self.letters or self.rejection or of_key or self.finding is Finding.STALE
        )

    @property
    def _unended(self) -> Happened:
        """Of what has neither a cutout nor a letter that was found."""
        if self.account and self.account.is_leased(self.asked.timestamp()):
            return Happened.IN_FLIGHT
        last = self.current_attempts[-1].outcome if self.current_attempts else None
        if last in (UNAVAILABLE, NOT_WRITTEN) and self.may_wait:
            return Happened.WAITING
        if self.is_rejected:
            return Happened.REJECTED
        if self.finding is Finding.CONFLICT and last is None:
            return Happened.CONFLICT
        if self.letters_unread or Part.LETTERS in self.unknown:
            return Happened.LETTER if last == LETTER else Happened.UNKNOWN
        return Happened.WAITING if self.may_wait else Happened.UNFINISHED

    @property
    def may_wait(self) -> bool:
        """Whether the queue may hold it: SQS cannot be asked for one upload."""
        queue = self.queue
        return queue is None or bool(queue.waiting or queue.in_work or queue.delayed)


def read_key(deployed: Deployment, text: str) -> str:
    """The key that a person means, who may give its s3:// URI. Raises Failure."""
    key = text
    if text.startswith(_SCHEME):
        bucket, _, key = text.removeprefix(_SCHEME).partition("/")
        if bucket != deployed.input_bucket:
            raise Failure(f"The stack's input bucket is {deployed.input_bucket}: give the key of an upload in it.")
    try:
        fits = 0 < len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:  # an argument that is not UTF-8
        fits = False
    if not fits:
        raise Failure("A key has 1 to 1,024 bytes of UTF-8.")
    return key


def explain(deployed: Deployment, key: str, since: datetime | None, progress: Progress) -> Explanation:
    """`since` is where to begin in the log: by default, where the upload did."""
    with progress(len(Part)) as advance:
        return _explain(deployed, key, since, advance)


def _explain(deployed: Deployment, key: str, since: datetime | None, advance: Callable[[int], None]) -> Explanation:
    pattern = output_keys.output_key(deployed)
    try:
        output_key = pattern.of(key)
    except OutputKeyTooLong:
        output_key = None
    unknown: dict[Part, str] = {}

    def ask(part: Part, call: Callable[[], Result], otherwise: Result) -> Result:
        try:
            return call()
        except Exception as error:
            if not is_told(error):
                raise
            unknown[part] = describe(error)
            return otherwise
        finally:
            advance(1)

    # The queue first: what it does not hold by then has ended, and the others show how.
    queue = ask(Part.QUEUE, lambda: queues.count(deployed.sqs, deployed.upload_queue), None)
    intake = ask(Part.INTAKE, lambda: stack_intake.read(deployed), None)
    absent = Upload(deployed.input_bucket, key, "")
    upload = ask(Part.INPUT, lambda: _look_at(deployed, absent), absent)
    is_folder = key.endswith("/") and upload.size == 0
    found = Explanation(
        upload,
        output_key,
        is_taken=key.startswith(deployed.settings["INPUT_PREFIX"]) and not is_folder,
        asked=datetime.now(UTC),
        queue=queue,
        intake=intake,
        unknown=unknown,
    )
    found.puts = ask(Part.VERSIONS, lambda: _list_puts(deployed, key), ())
    found.rejection = ask(Part.REJECTION, lambda: _read_rejection(deployed, upload.uri), None)
    none: tuple[Sequence[Letter], int] = (), 0
    found.letters, found.letters_unread = ask(Part.LETTERS, lambda: _read_letters(deployed, upload.uri), none)
    if output_key is not None:
        found.seen = ask(Part.LEDGER, lambda: _read_ledger(deployed, output_key), None)
        found.standing = ask(Part.OUTPUT, lambda: _find_standing(deployed, output_key), None)
    begin = found.log_since = since or _begin(found)
    found.attempts = ask(Part.LOG, lambda: _read_attempts(deployed, upload.uri, begin), ())
    if Part.LOG not in unknown:
        found.log_days = ask(Part.RETENTION, lambda: _read_retention(deployed), None)
    return found


def _look_at(deployed: Deployment, absent: Upload) -> Upload:
    found = objects.head(deployed.s3, absent.bucket, absent.key)
    if found is None:
        return absent
    return absent._replace(
        etag=found["ETag"].strip('"'),
        version_id=_version(found),
        size=found["ContentLength"],
        time=found["LastModified"].timestamp(),
    )


def _list_puts(deployed: Deployment, key: str) -> list[Put]:
    # Keys are listed in order, so those of the key itself come first, and of them the newest.
    answer = deployed.s3.list_object_versions(Bucket=deployed.input_bucket, Prefix=key, MaxKeys=VERSIONS)
    listed: list[Any] = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
    puts = [one for one in listed if one["Key"] == key]
    # S3's times are whole seconds.
    puts.sort(key=lambda one: (one["LastModified"], one["IsLatest"]), reverse=True)
    return [Put(one["LastModified"], _version(one), _etag(one), one.get("Size")) for one in puts]


def _etag(listed: Mapping[str, Any]) -> str | None:
    """None for a deletion."""
    return listed["ETag"].strip('"') if "ETag" in listed else None


def _version(listed: Mapping[str, Any]) -> str | None:
    """None without versions."""
    version = listed.get("VersionId", "null")
    return None if version == "null" else str(version)


def _find_standing(deployed: Deployment, output_key: str) -> Standing | None:
    found = objects.head(deployed.s3, deployed.output_bucket, output_key)
    if found is None:
        return None
    cutout = Cutout.from_metadata(found["ETag"], found["Metadata"])
    return Standing(cutout, found["ContentLength"], found["LastModified"])


def _read_ledger(deployed: Deployment, output_key: str) -> Seen | None:
    item = _get_item(deployed, key_of(output_key))
    return Seen.read(item) if item else None


def _read_rejection(deployed: Deployment, uri: str) -> Rejection | None:
    item = _get_item(deployed, {"id": {"S": rejections.item_id(uri)}})
    return Rejection(item["etag"]["S"], item["code"]["S"]) if item else None


def _get_item(deployed: Deployment, key: Mapping[str, Any]) -> Mapping[str, Any]:
    answer = deployed.dynamodb.get_item(TableName=deployed.settings["LEDGER_TABLE"], Key=key, ConsistentRead=True)
    return answer.get("Item", {})


def _read_letters(deployed: Deployment, uri: str) -> tuple[Sequence[Letter], int]:
    """Those about the key, the oldest first; and how many letters were not looked at, by SQS's approximate count."""
    counts = queues.count(deployed.sqs, deployed.dead_letter_queue)
    read = dead_letters.peek(
        deployed.sqs, deployed.dead_letter_queue, RECEIVES, VISIBILITY_SECONDS, dead_letters.WAIT_SECONDS
    )
    mine = sorted((letter for letter in read if uri in letter.sources), key=lambda letter: letter.sent)
    return mine, max(counts.waiting + counts.in_work - len(read), 0)


def _begin(found: Explanation) -> datetime:
    """When the newest upload was put there; earlier uploads count as far back as the ledger keeps what was paid."""
    kept_since = found.asked - timedelta(seconds=KEPT_SECONDS)
    moments = [put.time for put in found.puts] + ([found.uploaded] if found.uploaded else [])
    return min(max(moments, default=kept_since), max(min(moments, default=kept_since), kept_since))


def _read_attempts(deployed: Deployment, uri: str, since: datetime) -> list[Attempt]:
    group = logs.find_group(deployed, deployed.function)
    lines = logs.read(deployed, [group], since, Wanted(source=uri))
    return [attempt for line in lines if (attempt := attempts.read(line))]


def _read_retention(deployed: Deployment) -> int | None:
    return logs.read_retention(deployed, logs.find_group(deployed, deployed.function))
