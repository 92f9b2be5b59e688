"""One upload's way, step by step, with stand-ins for S3 and the service that keep what they are given."""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from remove_background.deadline import Deadline
from remove_background.errors import (
    CutoutError,
    MalformedImage,
    OutputKeyConflict,
    OutputKeyTooLong,
    ResolutionTooLow,
    ResultGone,
    ResultInvalid,
    ResultUnavailable,
    StorageUnavailable,
)
from remove_background.models import Cutout, Result, Source, cutout_metadata
from remove_background.output_key import OutputKey
from remove_background.process_upload import BackgroundRemover
from remove_background.uploads import Outcome, Upload


@dataclass
class Bucket:
    """Both buckets: what is uploaded, and the cutouts. `before_write` is what another writer does just before us."""

    head: bytes
    size: int | None = None
    owner_did: Outcome | None = None
    cutouts: dict[str, Cutout] = field(default_factory=dict)
    before_write: Callable[["Bucket"], None] = lambda _: None

    def find_cutout(self, key: str) -> Cutout | None:
        return self.cutouts.get(key)

    def look_at(self, upload: Upload) -> Source | Outcome:
        return self.owner_did or Source(upload, self.head, self.size or len(self.head), upload.version_id)

    def presign(self, source: Source, seconds: int) -> str:
        return f"https://signed/{source.upload.key}?version={source.version_id}&seconds={seconds}"

    def read(self, source: Source) -> Iterator[bytes]:
        yield source.head

    def write_cutout(self, key: str, result: Result, upload: Upload, replaces: Cutout | None) -> bool:
        self.before_write(self)
        if self.cutouts.get(key) != replaces:
            return False
        self.cutouts[key] = cutout_of(upload)
        return True


@dataclass
class Api:
    """The service and its results."""

    paid: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    result: CutoutError | None = None
    while_fetching: Callable[[], None] = lambda: None

    def remove_background_of_url(self, image_url: str, deadline: Deadline) -> str:
        self.paid.append(image_url)
        return "https://result"

    def remove_background_of_image(self, image: Iterable[bytes], format_: str | None, deadline: Deadline) -> str:
        self.paid.append(f"{format_}: {len(b''.join(image))} bytes")
        return "https://result"

    @contextmanager
    def fetch(self, result_url: str, deadline: Deadline) -> Iterator[Result]:
        self.fetched.append(result_url)
        self.while_fetching()
        if self.result:
            raise self.result
        yield Result(io.BytesIO(b"png"), 3, "sha")


@dataclass
class Books:
    """The ledger."""

    results: dict[str, str] = field(default_factory=dict)
    forgotten: int = 0

    def pay_once(self, output_key: str, upload: Upload, pay: Callable[[], str], deadline: Deadline) -> str:
        if output_key not in self.results:
            self.results[output_key] = pay()
        return self.results[output_key]

    def forget(self, output_key: str, result_url: str) -> int:
        del self.results[output_key]
        self.forgotten += 1
        return self.forgotten


def cutout_of(upload: Upload) -> Cutout:
    return Cutout.from_metadata(f'"{upload.etag}-{upload.sequencer}"', cutout_metadata(upload))


@pytest.fixture
def bucket() -> Bucket:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4) + b"\x08\x06\0\0\0"
    return Bucket(head=header + bytes(1000))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def process(bucket: Bucket, api: Api, books: Books) -> Callable[..., Outcome]:
    def run(upload: Upload, *, pattern: str = "{stem}.png", seconds: int | None = 300) -> Outcome:
        return BackgroundRemover(bucket, api, api, books, OutputKey(pattern), seconds).process(upload, Deadline(60))

    return run


Process = Callable[..., Outcome]
MakeUpload = Callable[..., Upload]


def test_an_upload_becomes_a_cutout(process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload) -> None:
    assert process(make_upload("photos/cat.jpg")) is Outcome.CUTOUT
    assert bucket.cutouts["photos/cat.png"].is_of(make_upload("photos/cat.jpg"))
    assert api.paid == ["https://signed/photos/cat.jpg?version=v1&seconds=300"]
    assert api.fetched == ["https://result"]


def test_the_image_itself_is_sent_where_urls_are_not(process: Process, api: Api, make_upload: MakeUpload) -> None:
    assert process(make_upload(), seconds=None) is Outcome.CUTOUT
    assert api.paid == ["png: 1029 bytes"]


def test_what_is_done_is_not_paid_again(process: Process, api: Api, make_upload: MakeUpload) -> None:
    process(make_upload())
    assert process(make_upload(sequencer="0055AED6DCD90281FF", version_id="v2")) is Outcome.DUPLICATE
    assert len(api.paid) == 1


def test_an_older_upload_than_the_cutouts_is_superseded(process: Process, api: Api, make_upload: MakeUpload) -> None:
    newer, older = make_upload(etag="b", sequencer="0056"), make_upload(etag="a", sequencer="0055")
    process(newer)
    assert process(older) is Outcome.SUPERSEDED
    assert len(api.paid) == 1


def test_a_newer_upload_replaces_the_cutout(process: Process, bucket: Bucket, make_upload: MakeUpload) -> None:
    newer, older = make_upload(etag="b", sequencer="0056"), make_upload(etag="a", sequencer="0055")
    process(older)
    assert process(newer) is Outcome.CUTOUT
    assert bucket.cutouts["photo.png"].is_of(newer)


def test_two_uploads_with_one_output_key_are_told_before_the_second_is_paid(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    process(make_upload("a.jpg"))
    with pytest.raises(OutputKeyConflict, match=r"a\.png is taken by the cutout of another upload"):
        process(make_upload("a.gif"))
    assert len(api.paid) == 1
    assert bucket.cutouts["a.png"].is_of(make_upload("a.jpg"))


def test_an_object_that_is_no_cutout_is_never_overwritten(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    bucket.cutouts["photo.png"] = Cutout.from_metadata('"mine"', {})
    with pytest.raises(OutputKeyConflict, match="an object that is no cutout"):
        process(make_upload())
    assert (api.paid, bucket.cutouts["photo.png"].etag) == ([], '"mine"')


@pytest.mark.parametrize("did", [Outcome.DELETED, Outcome.SUPERSEDED])
def test_what_its_owner_took_back_is_not_paid(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload, did: Outcome
) -> None:
    bucket.owner_did = did
    assert process(make_upload()) is did
    assert api.paid == []


def test_what_the_limits_rule_out_is_not_paid(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    bucket.head = bucket.head[:20] + (63).to_bytes(4) + bucket.head[24:]
    with pytest.raises(ResolutionTooLow):
        process(make_upload())
    bucket.head, bucket.size = b"", 0
    with pytest.raises(MalformedImage):
        process(make_upload())
    assert api.paid == []


def test_a_key_that_is_too_long_is_not_paid(process: Process, api: Api, make_upload: MakeUpload) -> None:
    with pytest.raises(OutputKeyTooLong):
        process(make_upload("k" * 1024))
    assert api.paid == []


def test_losing_a_race_to_the_same_upload_is_a_duplicate(
    process: Process, bucket: Bucket, make_upload: MakeUpload
) -> None:
    upload = make_upload()
    bucket.before_write = lambda bucket: bucket.cutouts.update({"photo.png": cutout_of(upload)})
    assert process(upload) is Outcome.DUPLICATE


def test_losing_a_race_to_a_newer_upload_leaves_its_cutout(
    process: Process, bucket: Bucket, make_upload: MakeUpload
) -> None:
    newer = make_upload(etag="b", sequencer="0056")
    bucket.before_write = lambda bucket: bucket.cutouts.update({"photo.png": cutout_of(newer)})
    assert process(make_upload(sequencer="0055")) is Outcome.SUPERSEDED
    assert bucket.cutouts["photo.png"].is_of(newer)


def test_losing_a_race_to_an_older_upload_replaces_its_cutout_without_paying_again(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    older, newer = make_upload(etag="a", sequencer="0055"), make_upload(etag="b", sequencer="0056")

    def write_unless_something_is_there(bucket: Bucket) -> None:
        bucket.cutouts.setdefault("photo.png", cutout_of(older))

    bucket.before_write = write_unless_something_is_there
    assert process(newer) is Outcome.CUTOUT
    assert bucket.cutouts["photo.png"].is_of(newer)
    assert (len(api.paid), len(api.fetched)) == (1, 1)


def test_losing_a_race_to_another_key_is_a_conflict(process: Process, bucket: Bucket, make_upload: MakeUpload) -> None:
    bucket.before_write = lambda bucket: bucket.cutouts.update({"photo.png": cutout_of(make_upload("photo.gif"))})
    with pytest.raises(OutputKeyConflict):
        process(make_upload())


def test_losing_every_race_is_tried_again_later(process: Process, bucket: Bucket, make_upload: MakeUpload) -> None:
    writes = iter(range(100))

    def write_an_older_one(bucket: Bucket) -> None:
        older = make_upload(etag=f"e{next(writes)}", sequencer="0001")
        bucket.cutouts["photo.png"] = Cutout.from_metadata(f'"{older.etag}"', cutout_metadata(older))

    bucket.before_write = write_an_older_one
    with pytest.raises(StorageUnavailable, match="tried again"):
        process(make_upload())


def test_a_result_that_was_fetched_but_not_written_is_not_paid_again(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    def refuse(_: Bucket) -> None:
        raise StorageUnavailable("Access denied.")

    bucket.before_write = refuse
    with pytest.raises(StorageUnavailable):
        process(make_upload())
    bucket.before_write = lambda _: None
    assert process(make_upload()) is Outcome.CUTOUT
    assert len(api.paid) == 1


@pytest.mark.parametrize(
    ("error", "paid"), [(ResultGone("Gone."), 2), (ResultInvalid("Broken."), 2), (ResultUnavailable("Later."), 1)]
)
def test_only_a_result_that_is_gone_or_broken_is_paid_again(
    process: Process, api: Api, make_upload: MakeUpload, error: CutoutError, paid: int
) -> None:
    api.result = error
    with pytest.raises(type(error)):
        process(make_upload())
    api.result = None
    assert process(make_upload()) is Outcome.CUTOUT
    assert len(api.paid) == paid


def test_when_a_second_result_is_gone_it_is_not_worth_a_third(
    process: Process, api: Api, make_upload: MakeUpload
) -> None:
    api.result = ResultGone("Gone.")
    for final in (False, True):
        api.result.is_final = False
        with pytest.raises(ResultGone):
            process(make_upload())
        assert api.result.is_final is final


def test_a_cutout_is_not_replaced_by_an_upload_that_was_overwritten_meanwhile(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    first = make_upload(etag="a", sequencer="0055")
    process(first)
    # By the bytes of the first again, whose cutout is already there:
    api.while_fetching = lambda: setattr(bucket, "owner_did", Outcome.SUPERSEDED)
    assert process(make_upload(etag="b", sequencer="0056")) is Outcome.SUPERSEDED
    assert bucket.cutouts["photo.png"].is_of(first)
