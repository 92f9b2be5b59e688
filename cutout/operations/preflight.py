"""Checks files before they are sent: which can never succeed, and which have their cutout already."""

from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from cutout.operations import objects
from cutout.operations.deployment import Deployment
from cutout.operations.files import File
from cutout.operations.progress import Progress
from cutout.operations.threads import work_through
from remove_background.errors import Rejected
from remove_background.preflight import HEAD_BYTES, check
from remove_background.uploads import Upload

# Each file costs a request, so for more files than this the check for existing cutouts is skipped.
MOST_LOOKS = 5_000


def leave_out_hopeless(files: Sequence[File]) -> tuple[list[File], list[File]]:
    """The files that may succeed, and those that the function would reject, which get its code and reason."""
    promising: list[File] = []
    hopeless: list[File] = []
    for file in files:
        try:
            with file.path.open("rb") as opened:
                head = opened.read(HEAD_BYTES)
        except OSError:  # reported when it is sent
            promising.append(file)
            continue
        (hopeless if is_hopeless(file, head) else promising).append(file)
    return promising, hopeless


def is_hopeless(file: File, head: bytes) -> bool:
    """Whether the function would reject it: then it gets the code and the reason. `head` is its first HEAD_BYTES."""
    try:
        check(head, file.size)
    except Rejected as rejected:
        file.code, file.reason = rejected.code, rejected.message
        return True
    return False


def count_done(deployed: Deployment, files: Sequence[File], progress: Progress) -> int:
    """How many have a cutout of exactly these bytes, so that sending them again costs nothing.

    Zero if the credentials may not look, or there are too many files. An upload that S3 encrypts with
    SSE-KMS has another ETag than the file, and is rightly not counted: it is paid for again.
    """
    if len(files) > MOST_LOOKS:
        return 0
    done = 0
    try:
        with progress(len(files)) as advance:

            def note(is_done: bool) -> None:
                nonlocal done
                done += is_done
                advance(1)

            work_through(files, lambda file: _is_done(deployed, file), note)
    except (BotoCoreError, ClientError):
        return 0
    return done


def _is_done(deployed: Deployment, file: File) -> bool:
    cutout = objects.find_cutout(deployed.s3, deployed.output_bucket, file.output_key)
    if cutout is None or not cutout.is_of_key(Upload(deployed.input_bucket, file.key, "")):
        return False
    try:
        return cutout.source_etag == objects.etag_of(file.path)
    except OSError:
        return False
