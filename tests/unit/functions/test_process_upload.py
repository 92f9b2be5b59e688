"""One upload, step by step: first with fakes that record what they get, then with S3 and DynamoDB in memory."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from remove_background.aws import Clients
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    CutoutError,
    InProgress,
    MalformedImage,
    OutOfTime,
    OutputKeyConflict,
    OutputKeyTooLong,
    ResolutionTooLow,
    ResultGone,
    ResultInvalid,
    ResultUnavailable,
    StorageUnavailable,
)
from remove_background.ledger import Ledger
from remove_background.models import Cutout, Paid, Result, Source, cutout_metadata
from remove_background.output_key import OutputKey
from remove_background.process_upload import BackgroundRemover
from remove_background.storage import Storage
from remove_background.uploads import Outcome, Upload
from tests.unit.fakes import Clock

PNG_SHA256 = base64.b64encode(hashlib.sha256(b"png").digest()).decode()
HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4) + b"\x08\x06\0\0\0"
SENT = 1_800_000_000.0


@dataclass
class Bucket:
    """Both buckets: what is uploaded, and the cutouts. `before_write` is what another writer does just before us."""

    head: bytes
    size: int | None = None
    owner_did: Outcome | None = None
    cutouts: dict[str, Cutout] = field(default_factory=dict)
    before_write: Callable[["Bucket"], None] = lambda _: None
    looks: int = 0
    modified: float = SENT - 1000
    fails: bool = False

    def find_cutout(self, key: str) -> Cutout | None:
        return self.cutouts.get(key)

    def look_at(self, upload: Upload) -> Source | Outcome:
        self.looks += 1
        if self.fails:
            raise StorageUnavailable("503")
        return self.owner_did or Source(
            upload, self.head, self.size or len(self.head), upload.version_id, self.modified
        )

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
    while_paying: Callable[[], object] = lambda: None
    while_fetching: Callable[[], object] = lambda: None

    def remove_background_of_url(self, image_url: str, deadline: Deadline) -> str:
        assert deadline.remaining() > 50
        self.paid.append(image_url)
        self.while_paying()
        return f"https://result/{len(self.paid)}"

    def remove_background_of_image(self, image: Iterable[bytes], format_: str | None, deadline: Deadline) -> str:
        assert deadline.remaining() > 50
        self.paid.append(f"{format_}: {len(b''.join(image))} bytes")
        return f"https://result/{len(self.paid)}"

    @contextmanager
    def fetch(self, result_url: str, deadline: Deadline) -> Iterator[Result]:
        assert deadline.remaining() > 50
        self.fetched.append(result_url)
        self.while_fetching()
        if self.result:
            raise self.result
        yield Result(io.BytesIO(b"png"), 3, PNG_SHA256)


@dataclass
class Payments:
    """A ledger of one thing at a time."""

    results: dict[str, Paid] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    in_flight: bool = False
    ended: Outcome | None = None
    sent: list[float] = field(default_factory=list)
    standing: list[Cutout | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # whether something is in flight for these output keys
    confirm: Callable[[], object] = lambda: None

    def pay_once(
        self,
        output_key: str,
        upload: Upload,
        *,
        sent: float,
        modified: float,
        pay: Callable[[], str],
        confirm: Callable[[], object],
        deadline: Deadline,
        standing: Cutout | None = None,
    ) -> Paid | Outcome:
        assert deadline.remaining() > 50
        self.sent.append(sent)
        self.standing.append(standing)
        self.confirm = confirm
        if self.ended:
            return self.ended
        if output_key not in self.results:
            self.results[output_key] = Paid(pay(), modified)
        return self.results[output_key]

    def note_unreplaced(self, output_key: str, paid: Paid) -> None:
        assert self.results[output_key] == paid
        self.results[output_key] = paid._replace(modified=0.0)

    def forget(self, output_key: str, upload: Upload, result_url: str, code: str) -> bool:
        assert isinstance(upload, Upload)
        assert self.results.pop(output_key).result_url == result_url
        self.forgotten.append(result_url)
        return len(self.forgotten) == 2

    def check_nothing_in_flight(self, output_key: str) -> None:
        self.asked.append(output_key)
        if self.in_flight:
            raise InProgress("An earlier delivery.")


def cutout_of(upload: Upload) -> Cutout:
    return Cutout.from_metadata(f'"{upload.etag}-{upload.sequencer}"', cutout_metadata(upload))


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(head=HEADER + bytes(1000))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def payments() -> Payments:
    return Payments()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the use case, and of nothing else."""
    clock = Clock(SENT)
    monkeypatch.setattr("remove_background.process_upload.time", clock, raising=False)
    return clock


@pytest.fixture
def process(bucket: Bucket, api: Api, payments: Payments) -> Callable[..., Outcome]:
    def run(upload: Upload, *, pattern: str = "{stem}.png", seconds: int | None = 300) -> Outcome:
        remover = BackgroundRemover(bucket, api, api, payments, OutputKey(pattern), seconds)
        return remover.process(upload, SENT, Deadline(60))

    return run


Process = Callable[..., Outcome]
MakeUpload = Callable[..., Upload]


def test_an_upload_becomes_a_cutout(
    process: Process, bucket: Bucket, api: Api, payments: Payments, make_upload: MakeUpload
) -> None:
    assert process(make_upload("photos/cat.jpg")) is Outcome.CUTOUT
    assert bucket.cutouts["photos/cat.png"].is_of(make_upload("photos/cat.jpg"))
    assert api.paid == ["https://signed/photos/cat.jpg?version=v1&seconds=300"]
    assert api.fetched == ["https://result/1"]
    assert payments.sent == [SENT]
    assert bucket.looks == 1


def test_the_image_itself_is_sent_if_no_url_is(process: Process, api: Api, make_upload: MakeUpload) -> None:
    assert process(make_upload(), seconds=None) is Outcome.CUTOUT
    assert api.paid == ["png: 1029 bytes"]


def test_an_upload_that_has_its_cutout_is_a_duplicate_whatever_is_in_flight(
    process: Process, api: Api, payments: Payments, make_upload: MakeUpload
) -> None:
    process(make_upload())
    payments.in_flight = True
    assert process(make_upload()) is Outcome.DUPLICATE
    assert len(api.paid) == 1


@pytest.mark.parametrize("sequencer", ["0055AED6DCD90281FF", None])
def test_the_same_bytes_uploaded_again_are_a_duplicate_once_nothing_is_in_flight(
    process: Process, api: Api, payments: Payments, make_upload: MakeUpload, sequencer: str | None
) -> None:
    process(make_upload())
    payments.in_flight = True
    with pytest.raises(InProgress):
        process(make_upload(sequencer=sequencer))
    payments.in_flight = False
    assert process(make_upload(sequencer=sequencer)) is Outcome.DUPLICATE
    assert len(api.paid) == 1
    assert payments.asked == ["photo.png", "photo.png"]


def test_an_upload_that_has_ended_in_the_ledger_is_not_paid(
    process: Process, bucket: Bucket, api: Api, payments: Payments, make_upload: MakeUpload
) -> None:
    payments.ended = Outcome.SUPERSEDED
    assert process(make_upload()) is Outcome.SUPERSEDED
    assert (api.paid, api.fetched, bucket.cutouts) == ([], [], {})


@pytest.mark.parametrize("did", [None, Outcome.SUPERSEDED])
def test_the_ledger_confirms_an_upload_by_another_look_at_its_source(
    process: Process, bucket: Bucket, payments: Payments, make_upload: MakeUpload, did: Outcome | None
) -> None:
    process(make_upload())
    bucket.looks, bucket.owner_did = 0, did
    confirmed = payments.confirm()
    assert bucket.looks == 1
    assert confirmed is did if did else isinstance(confirmed, Source)


def test_a_newer_upload_replaces_the_cutout(
    process: Process, bucket: Bucket, payments: Payments, make_upload: MakeUpload
) -> None:
    newer, older = make_upload(etag="b", sequencer="0056"), make_upload(etag="a", sequencer="0055")
    bucket.cutouts["photo.png"] = cutout_of(older)
    assert process(newer) is Outcome.CUTOUT
    assert bucket.cutouts["photo.png"].is_of(newer)
    assert payments.standing == [cutout_of(older)]


def test_an_older_upload_replaces_the_cutout_of_a_newer_one_when_its_bytes_are_current_again(
    process: Process, bucket: Bucket, make_upload: MakeUpload
) -> None:
    newer, older = make_upload(etag="b", sequencer="0056"), make_upload(etag="a", sequencer="0055")
    bucket.cutouts["photo.png"] = cutout_of(newer)
    assert process(older) is Outcome.CUTOUT
    assert bucket.cutouts["photo.png"].is_of(older)


def test_an_older_upload_whose_bytes_are_not_current_is_superseded(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    bucket.cutouts["photo.png"] = cutout_of(make_upload(etag="b", sequencer="0056"))
    bucket.owner_did = Outcome.SUPERSEDED
    assert process(make_upload(etag="a", sequencer="0055")) is Outcome.SUPERSEDED
    assert api.paid == []


def test_a_second_upload_of_an_output_key_is_refused_before_it_is_paid(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    process(make_upload("a.jpg"))
    with pytest.raises(OutputKeyConflict) as caught:
        process(make_upload("a.gif"))
    assert str(caught.value) == (
        "The output key a.png is taken by the cutout of another upload."
        " Upload under another name, or choose an OutputKey pattern that keeps the two apart."
    )
    assert caught.value.billed is Billed.NO
    assert len(api.paid) == 1
    assert bucket.cutouts["a.png"].is_of(make_upload("a.jpg"))


def test_an_object_that_is_not_a_cutout_is_never_overwritten(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    bucket.cutouts["photo.png"] = Cutout.from_metadata('"mine"', {})
    with pytest.raises(OutputKeyConflict, match=r" is taken by an object that is not a cutout\."):
        process(make_upload())
    assert (api.paid, bucket.cutouts["photo.png"].etag) == ([], '"mine"')


@pytest.mark.parametrize("did", [Outcome.DELETED, Outcome.SUPERSEDED])
def test_an_upload_that_its_owner_overwrote_or_deleted_is_not_paid(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload, did: Outcome
) -> None:
    bucket.owner_did = did
    assert process(make_upload()) is did
    assert api.paid == []


def test_an_image_outside_the_limits_is_not_paid(
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


@pytest.mark.parametrize(("sequencer", "outcome"), [("0056", Outcome.CUTOUT), ("0055", Outcome.DUPLICATE)])
def test_losing_a_race_to_the_same_bytes_is_a_duplicate_unless_its_own_write_won(
    process: Process, bucket: Bucket, make_upload: MakeUpload, sequencer: str, outcome: Outcome
) -> None:
    """Of just this upload, it is what was written here although S3's answer was lost."""
    written = cutout_of(make_upload(sequencer=sequencer))
    bucket.before_write = lambda bucket: bucket.cutouts.update({"photo.png": written})
    assert process(make_upload(sequencer="0056")) is outcome


def test_losing_a_race_to_the_same_bytes_waits_for_others_that_are_in_flight(
    process: Process, bucket: Bucket, payments: Payments, make_upload: MakeUpload
) -> None:
    earlier = make_upload(sequencer="0001")
    bucket.before_write = lambda bucket: bucket.cutouts.update({"photo.png": cutout_of(earlier)})
    payments.in_flight = True
    with pytest.raises(InProgress) as caught:
        process(make_upload())
    assert (caught.value.billed, payments.asked) == (Billed.YES, ["photo.png"])


def test_losing_a_race_to_a_newer_upload_leaves_its_cutout(
    process: Process, bucket: Bucket, make_upload: MakeUpload
) -> None:
    newer = make_upload(etag="b", sequencer="0056")

    def overwrite(bucket: Bucket) -> None:
        bucket.cutouts["photo.png"] = cutout_of(newer)
        bucket.owner_did = Outcome.SUPERSEDED

    bucket.before_write = overwrite
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
    with pytest.raises(OutputKeyConflict) as caught:
        process(make_upload())
    assert caught.value.billed is Billed.YES


def test_an_upload_that_loses_three_races_is_retried_later(
    process: Process, bucket: Bucket, make_upload: MakeUpload
) -> None:
    writes: list[Upload] = []

    def write_another(bucket: Bucket) -> None:
        writes.append(make_upload(etag=f"e{len(writes)}"))
        bucket.cutouts["photo.png"] = cutout_of(writes[-1])

    bucket.before_write = write_another
    with pytest.raises(StorageUnavailable) as caught:
        process(make_upload())
    assert str(caught.value) == "The cutout could not be written: S3 failed, or others wrote under its key."
    assert (len(writes), caught.value.billed) == (3, Billed.YES)


def test_a_result_that_was_fetched_but_not_written_is_not_paid_again(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    def refuse(_: Bucket) -> None:
        raise StorageUnavailable("Access denied.")

    bucket.before_write = refuse
    with pytest.raises(StorageUnavailable) as caught:
        process(make_upload())
    assert caught.value.billed is Billed.YES
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


def test_a_second_result_that_is_gone_is_final(
    process: Process, api: Api, payments: Payments, make_upload: MakeUpload
) -> None:
    api.result = ResultGone("Gone.")
    for final in (False, True):
        api.result.is_final = False
        with pytest.raises(ResultGone):
            process(make_upload())
        assert api.result.is_final is final
    assert payments.forgotten == ["https://result/1", "https://result/2"]


def test_a_cutout_is_not_replaced_by_an_upload_that_was_overwritten_meanwhile(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    first = make_upload(etag="a", sequencer="0055")
    bucket.cutouts["photo.png"] = cutout_of(first)
    # By the bytes of the first again, whose cutout is already there:
    api.while_fetching = lambda: setattr(bucket, "owner_did", Outcome.SUPERSEDED)
    assert process(make_upload(etag="b", sequencer="0056")) is Outcome.SUPERSEDED
    assert bucket.cutouts["photo.png"].is_of(first)


@pytest.mark.parametrize(
    ("version_id", "seconds", "is_kept"), [(None, 300, False), ("v1", 300, True), (None, None, True)]
)
@pytest.mark.parametrize("what", ["modified", "deleted", "superseded"])
def test_the_result_of_a_url_without_a_version_is_kept_only_if_the_upload_was_not_replaced_meanwhile(
    process: Process,
    bucket: Bucket,
    api: Api,
    payments: Payments,
    make_upload: MakeUpload,
    version_id: str | None,
    seconds: int | None,
    is_kept: bool,
    what: str,
) -> None:
    """Pixelcut may have been given other bytes, even if the same ones stand there again."""

    def change() -> None:
        if what == "modified":
            bucket.modified += 1
        else:
            bucket.owner_did = Outcome(what)

    upload = make_upload(version_id=version_id)
    api.while_paying = change
    if is_kept:
        assert process(upload, seconds=seconds) is Outcome.CUTOUT
        assert bucket.looks == 1
    else:
        said = r"^The upload was replaced after Pixelcut was asked for its cutout\.$"
        with pytest.raises(ResultInvalid, match=said) as caught:
            process(upload, seconds=seconds)
        assert (caught.value.billed, caught.value.is_final) == (Billed.YES, False)
        assert (bucket.cutouts, api.fetched, payments.forgotten) == ({}, [], ["https://result/1"])


@pytest.mark.parametrize("replaced", [False, True])
def test_a_result_that_could_not_be_compared_is_kept_and_compared_before_it_is_used(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload, replaced: bool
) -> None:
    """S3 fails just after the paid call."""
    upload = make_upload(version_id=None)
    api.while_paying = lambda: setattr(bucket, "fails", True)
    with pytest.raises(StorageUnavailable, match=r"^503$") as caught:
        process(upload)
    assert (caught.value.billed, api.fetched, len(api.paid)) == (Billed.YES, [], 1)
    api.while_paying = lambda: None
    bucket.fails, bucket.modified = False, bucket.modified + replaced
    if replaced:
        with pytest.raises(ResultInvalid):
            process(upload)
        assert api.fetched == []
    assert process(upload) is Outcome.CUTOUT
    assert (len(api.paid), len(api.fetched)) == (1 + replaced, 1)


def test_a_result_that_was_compared_once_is_not_compared_again(
    process: Process, bucket: Bucket, api: Api, make_upload: MakeUpload
) -> None:
    """The same bytes are uploaded again, after Pixelcut has had them."""
    upload = make_upload(version_id=None)
    api.result = ResultUnavailable("Later.")
    with pytest.raises(ResultUnavailable):
        process(upload)
    assert bucket.looks == 2
    api.result, bucket.modified = None, bucket.modified + 1
    assert process(upload) is Outcome.CUTOUT
    assert (len(api.paid), bucket.looks) == (1, 3)


@pytest.mark.parametrize(
    ("age", "waits"), [(-60, 2), (0, 2), (1.5, 0.5), (2, 0), (60, 0)]
)  # less than none: S3's clock is ahead
def test_what_was_put_there_a_moment_ago_is_not_paid_before_what_replaces_it_can_be_told_from_it(
    process: Process, bucket: Bucket, api: Api, clock: Clock, make_upload: MakeUpload, age: float, waits: float
) -> None:
    """S3 tells when it was put there in whole seconds: other bytes may come and go within one."""
    bucket.modified = SENT - age
    paid_at: list[float] = []
    api.while_paying = lambda: paid_at.append(clock.now)
    assert process(make_upload(version_id=None)) is Outcome.CUTOUT
    assert paid_at == [SENT + waits]


@pytest.mark.parametrize(("version_id", "seconds"), [("v1", 300), (None, None), ("v1", None)])
def test_nothing_is_waited_for_where_pixelcut_is_given_just_this_upload(
    process: Process, bucket: Bucket, clock: Clock, make_upload: MakeUpload, version_id: str | None, seconds: int | None
) -> None:
    bucket.modified = SENT
    assert process(make_upload(version_id=version_id), seconds=seconds) is Outcome.CUTOUT
    assert clock.now == SENT


def test_no_longer_is_waited_than_there_is_time(
    bucket: Bucket,
    api: Api,
    payments: Payments,
    clock: Clock,
    make_upload: MakeUpload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("remove_background.deadline.time", clock)
    remover = BackgroundRemover(bucket, api, api, payments, OutputKey("{stem}.png"), 300)
    with pytest.raises(OutOfTime):
        remover._pay(Source(make_upload(), b"", 0, None, SENT), None, Deadline(1))
    assert (clock.now, api.paid) == (SENT + 1, [])


# With S3 and DynamoDB


@dataclass
class Stack:
    """The real steps of an upload except Pixelcut, on an AWS in memory with its own clock."""

    clients: Clients
    api: Api
    now: float = SENT
    uploads: int = 0

    def put(self, text: str) -> Upload:
        """As its own event describes it."""
        self.uploads += 1
        body = HEADER + text.encode()
        answer = self.clients.s3.put_object(Bucket="input", Key="photo.png", Body=body)
        etag = answer["ETag"].strip('"')
        return Upload("input", "photo.png", etag, answer["VersionId"], f"{self.uploads:04}", len(body))

    def delete_version(self, upload: Upload) -> None:
        self.clients.s3.delete_object(Bucket="input", Key=upload.key, VersionId=str(upload.version_id))

    def process(self, upload: Upload) -> Outcome:
        ledger = Ledger(self.clients.dynamodb, "ledger", lambda _: None, lambda _: None)
        storage = Storage(self.clients.s3, "output")
        remover = BackgroundRemover(storage, self.api, self.api, ledger, OutputKey("{stem}.png"), 300)
        return remover.process(upload, SENT, Deadline(60))

    def standing(self) -> str:
        """The ETag of the upload that the cutout was made of."""
        return self.clients.s3.head_object(Bucket="output", Key="photo.png")["Metadata"]["source-etag"]


@pytest.fixture
def stack(clients: Clients, api: Api, monkeypatch: pytest.MonkeyPatch) -> Stack:
    stack = Stack(clients, api)
    monkeypatch.setattr("remove_background.ledger.time", SimpleNamespace(time=lambda: stack.now))
    monkeypatch.setattr("remove_background.deadline.time", SimpleNamespace(monotonic=lambda: stack.now))
    return stack


def test_an_upload_overwritten_after_its_look_does_not_claim_over_the_newer_result(
    stack: Stack, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older has looked at its source, and then the newer is uploaded, paid for, and killed."""
    old = stack.put("old")
    look_at, overwritten_by = Storage.look_at, list[Upload]()

    def look_and_be_overtaken(storage: Storage, upload: Upload) -> Source | Outcome:
        source = look_at(storage, upload)
        if not overwritten_by:
            overwritten_by.append(stack.put("new"))
            api.result = ResultUnavailable("Later.")
            with pytest.raises(ResultUnavailable):
                stack.process(overwritten_by[0])
            api.result = None
        return source

    monkeypatch.setattr(Storage, "look_at", look_and_be_overtaken)
    assert stack.process(old) is Outcome.SUPERSEDED
    assert stack.process(overwritten_by[0]) is Outcome.CUTOUT
    assert (stack.standing(), len(api.paid)) == (overwritten_by[0].etag, 1)


def test_the_same_bytes_wait_while_others_that_began_before_may_still_be_written(stack: Stack, api: Api) -> None:
    """A, B, A."""
    first = stack.put("A")
    assert stack.process(first) is Outcome.CUTOUT
    stack.now += 66
    between = stack.put("B")
    waited: list[Upload] = []

    def upload_again() -> None:
        again = stack.put("A")
        with pytest.raises(InProgress):
            stack.process(again)
        waited.append(again)

    def deliver_again() -> None:
        with pytest.raises(InProgress):
            stack.process(waited[0])

    api.while_paying = upload_again  # the others hold their lease
    api.while_fetching = deliver_again  # they have their result
    assert stack.process(between) is Outcome.SUPERSEDED
    stack.now += 65
    with pytest.raises(InProgress):
        stack.process(waited[0])
    stack.now += 1
    assert stack.process(waited[0]) is Outcome.DUPLICATE
    assert stack.standing() == first.etag == waited[0].etag


def test_the_same_bytes_wait_for_others_though_a_third_upload_came_between(
    stack: Stack, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A, B, C, A: C is to take B's place in the ledger, just before B is written."""

    def overtake(storage: Storage, key: str, result: Result, upload: Upload, replaces: Cutout | None) -> bool:
        if not again:
            third = stack.put("C")
            with pytest.raises(InProgress):
                stack.process(third)
            again.append(stack.put("A"))
            with pytest.raises(InProgress):
                stack.process(again[0])
        return write_cutout(storage, key, result, upload, replaces)

    again: list[Upload] = []
    write_cutout = Storage.write_cutout
    assert stack.process(stack.put("A")) is Outcome.CUTOUT
    stack.now += 66
    other = stack.put("B")
    monkeypatch.setattr(Storage, "write_cutout", overtake)
    assert stack.process(other) is Outcome.CUTOUT
    stack.now += 66
    assert stack.process(again[0]) is Outcome.CUTOUT
    assert stack.standing() == again[0].etag


def test_an_upload_replayed_after_a_rollback_becomes_the_cutout(stack: Stack, api: Api) -> None:
    """The newest version is deleted, and so an older one is current again."""
    old, new = stack.put("old"), stack.put("new")
    assert stack.process(new) is Outcome.CUTOUT
    assert stack.process(old) is Outcome.SUPERSEDED
    stack.delete_version(new)
    stack.now += 66
    assert stack.process(old) is Outcome.CUTOUT
    assert (stack.standing(), len(api.paid)) == (old.etag, 2)


def test_a_repeated_upload_of_the_newest_bytes_is_paid_once(stack: Stack, api: Api) -> None:
    stack.process(stack.put("old"))
    stack.now += 66
    new = stack.put("new")
    stack.process(new)
    stack.now += 66
    assert stack.process(stack.put("new")._replace(sequencer=None)) is Outcome.DUPLICATE
    assert (stack.standing(), len(api.paid)) == (new.etag, 2)
