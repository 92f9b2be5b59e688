"""How one upload has ended: what its cutout, its object in the input bucket and its letter say."""

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from cutout.operations import objects
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became, File
from cutout.operations.queues import Counts
from remove_background.errors import Billed
from remove_background.models import Cutout
from remove_background.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

# The clocks of S3 and SQS may differ by this much.
CLOCKS_SECONDS = 5.0
# If the queues were idle for this long, the remaining uploads will not end any more.
IDLE_SECONDS = 150.0


class Written(NamedTuple):
    """The cutout of an upload; `seconds` is for how long it has been there."""

    cutout: Cutout
    billed: Billed
    seconds: float


class End(NamedTuple):
    """`code` is a letter's, `reason` a sentence."""

    became: Became
    code: str | None = None
    reason: str | None = None
    billed: Billed | None = None


UNFINISHED = End(
    Became.UNFINISHED, reason="The queue is empty, and neither cutout nor letter is there: call `cutout backfill`."
)


def identity(upload: Upload) -> tuple[str, str, str | None]:
    """What identifies an upload in a letter. The version tells it from an earlier upload of the same bytes."""
    return upload.uri, upload.etag, upload.version_id


def find_cutout(deployed: Deployment, file: File, upload: Upload) -> Written | None:
    """The cutout of just these bytes, if it is there."""
    found = objects.head(deployed.s3, deployed.output_bucket, file.output_key)
    if found is None:
        return None
    cutout = Cutout.from_metadata(found["ETag"], found["Metadata"])
    if not cutout.is_of(upload):
        return None
    return Written(cutout, _tell_billed(found["LastModified"].timestamp(), upload), _tell_age(found))


def find_loss(deployed: Deployment, upload: Upload) -> End | None:
    """Whether its owner has deleted or overwritten it. Its cutout may have been written before that."""
    found = objects.head(deployed.s3, upload.bucket, upload.key)
    if found is None:
        return End(Became.DELETED, reason="Somebody deleted it from the input bucket.")
    if found["ETag"].strip('"') != upload.etag:
        return End(Became.SUPERSEDED, reason="Somebody uploaded another image under its key.")
    return None


def read_letter(letter: Letter, upload: Upload) -> End | None:
    """What a letter says about the upload that it names; None if it is about an earlier upload of the same bytes."""
    if _is_earlier(letter, upload):
        return None
    billed = Billed(letter.billed) if letter.billed in set(Billed) else Billed.MAYBE
    return End(Became.LETTER, letter.code, letter.attributes.get("ErrorMessage"), billed)


def is_idle(uploads: Counts, letters: Counts) -> bool:
    """Whether nothing waits or is in flight, by both queues' counts: a letter in flight may be about any upload."""
    return not (uploads.total or letters.in_work)


def _is_earlier(letter: Letter, upload: Upload) -> bool:
    """Without versions, only the time tells."""
    return upload.time is not None and letter.sent.timestamp() < upload.time - CLOCKS_SECONDS


def _tell_age(found: "HeadObjectOutputTypeDef") -> float:
    """For how many seconds the object has been there; both times are S3's."""
    date = found["ResponseMetadata"]["HTTPHeaders"].get("date")
    return max(0.0, (parsedate_to_datetime(date) - found["LastModified"]).total_seconds()) if date else 0.0


def _tell_billed(written: float, upload: Upload) -> Billed:
    """Nothing is paid for an upload whose cutout was written before it; both times are S3's."""
    if upload.time is None:
        return Billed.MAYBE
    return Billed.NO if written < upload.time else Billed.YES
