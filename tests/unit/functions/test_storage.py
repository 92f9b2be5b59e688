import base64
import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from urllib3.exceptions import SSLError

from remove_background.aws import Clients
from remove_background.errors import StorageUnavailable
from remove_background.models import Result, Source
from remove_background.preflight import HEAD_BYTES
from remove_background.storage import Storage
from remove_background.uploads import Outcome, Upload

MakeUpload = Callable[..., Upload]


@pytest.fixture
def storage(clients: Clients) -> Storage:
    return Storage(clients.s3, "output")


def put(clients: Clients, body: bytes, key: str = "photo.jpg") -> Upload:
    answer = clients.s3.put_object(Bucket="input", Key=key, Body=body)
    return Upload("input", key, answer["ETag"].strip('"'), answer["VersionId"], "0055", len(body))


def look(storage: Storage, upload: Upload) -> Source:
    source = storage.look_at(upload)
    assert isinstance(source, Source)
    return source


def result_of(content: bytes) -> Result:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return Result(io.BytesIO(content), len(content), digest)


@pytest.mark.parametrize("size", [1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1])
def test_the_first_bytes_of_an_upload_are_read(clients: Clients, storage: Storage, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    source = look(storage, put(clients, body[:size]))
    assert (source.head, source.size) == (body[: min(size, HEAD_BYTES)], size)


def test_an_empty_upload_has_no_first_bytes(clients: Clients, storage: Storage) -> None:
    upload = put(clients, b"")
    assert look(storage, upload) == Source(upload, b"", 0)


def test_an_upload_without_versions_is_looked_at_by_its_etag(clients: Clients, make_upload: MakeUpload) -> None:
    etag = clients.s3.put_object(Bucket="output", Key="photo.jpg", Body=b"image")["ETag"].strip('"')
    storage = Storage(clients.s3, "output")
    assert look(storage, make_upload(bucket="output", etag=etag, version_id=None)).version_id is None
    assert storage.look_at(make_upload(bucket="output", etag="other", version_id=None)) is Outcome.SUPERSEDED


def test_the_time_of_an_upload_is_read(clients: Clients, storage: Storage) -> None:
    upload = put(clients, b"image")
    modified = clients.s3.head_object(Bucket="input", Key=upload.key)["LastModified"]
    assert look(storage, upload).modified == modified.timestamp()


def test_an_overwritten_upload_is_superseded(clients: Clients, storage: Storage) -> None:
    older, newer = put(clients, b"older"), put(clients, b"newer")
    assert storage.look_at(older) is Outcome.SUPERSEDED
    assert look(storage, newer).version_id == newer.version_id


def test_a_deleted_upload_is_deleted_though_its_version_is_still_there(clients: Clients, storage: Storage) -> None:
    upload = put(clients, b"image")
    clients.s3.delete_object(Bucket="input", Key=upload.key)
    assert storage.look_at(upload) is Outcome.DELETED


def test_an_upload_that_was_never_there_is_deleted(storage: Storage, make_upload: MakeUpload) -> None:
    assert storage.look_at(make_upload("nowhere.jpg")) is Outcome.DELETED


def test_a_null_version_is_none(clients: Clients, make_upload: MakeUpload) -> None:
    """S3 names the version so if versioning is suspended; the next upload overwrites it."""
    body = StreamingBody(io.BytesIO(b"image"), 5)
    answer = {"Body": body, "ContentRange": "bytes 0-4/5", "VersionId": "null", "LastModified": datetime.now(UTC)}
    with Stubber(clients.s3) as stub:
        stub.add_response("get_object", answer)
        source = Storage(clients.s3, "output").look_at(make_upload())
    assert isinstance(source, Source)
    assert source.version_id is None


def test_the_version_that_was_looked_at_is_presigned(clients: Clients, storage: Storage) -> None:
    upload = put(clients, b"image", 'a folder/100% "best"+🐈.jpg')
    url = urlsplit(storage.presign(look(storage, upload), 300))
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc) == ("https", "input.s3.eu-central-1.amazonaws.com")
    assert url.path == "/a%20folder/100%25%20%22best%22%2B%F0%9F%90%88.jpg"
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["300"]
    assert query["versionId"] == [upload.version_id]


def test_an_old_region_is_presigned_for_its_own_host(monkeypatch: pytest.MonkeyPatch, make_upload: MakeUpload) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url = Storage(Clients(threads=1).s3, "output").presign(Source(make_upload(), b"", 0), 60)
    assert urlsplit(url).netloc == "input.s3.us-east-1.amazonaws.com"
    assert "versionId" not in url


def test_the_version_that_was_looked_at_is_read(clients: Clients, storage: Storage) -> None:
    source = look(storage, put(clients, b"older" * 100_000))
    put(clients, b"newer")
    chunks = list(storage.read(source))
    assert b"".join(chunks) == b"older" * 100_000
    assert max(map(len, chunks)) == 65_536  # the image is never held as a whole


def test_an_upload_that_was_overwritten_after_the_look_is_not_read(
    clients: Clients, storage: Storage, make_upload: MakeUpload
) -> None:
    """Without versions, other bytes would be sent, paid for, and written as this upload's cutout."""
    etag = clients.s3.put_object(Bucket="output", Key="photo.jpg", Body=b"older")["ETag"].strip('"')
    source = look(storage, make_upload(bucket="output", etag=etag, version_id=None))
    assert b"".join(storage.read(source)) == b"older"
    clients.s3.put_object(Bucket="output", Key="photo.jpg", Body=b"newer")
    with pytest.raises(StorageUnavailable, match=r"read the upload \(PreconditionFailed\)") as caught:
        list(storage.read(source))
    assert (caught.value.is_its_own, caught.value.may_be_general) == (True, False)


def test_a_cutout_is_written_with_its_source(clients: Clients, storage: Storage, make_upload: MakeUpload) -> None:
    upload = make_upload("été.jpg")
    assert storage.find_cutout("été.png") is None
    assert storage.write_cutout("été.png", result_of(b"png"), upload, replaces=None)
    answer = clients.s3.get_object(Bucket="output", Key="été.png")
    assert answer["Body"].read() == b"png"
    assert answer["ContentType"] == "image/png"
    assert answer["Metadata"] == {
        "source-bucket": upload.bucket,
        "source-key": "%C3%A9t%C3%A9.jpg",
        "source-etag": upload.etag,
        "source-version": "v1",
        "source-sequencer": upload.sequencer,
    }
    cutout = storage.find_cutout("été.png")
    assert cutout is not None
    assert cutout.is_of(upload)


def test_a_cutout_is_written_with_its_checksum_and_length(
    clients: Clients, storage: Storage, make_upload: MakeUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(
        clients.s3, "put_object", lambda **call: sent.append((call["ChecksumSHA256"], call["ContentLength"]))
    )
    storage.write_cutout("photo.png", result_of(b"png"), make_upload(), replaces=None)
    assert sent == [(base64.b64encode(hashlib.sha256(b"png").digest()).decode(), 3)]


def test_a_cutout_replaces_only_the_object_that_was_found(storage: Storage, make_upload: MakeUpload) -> None:
    upload = make_upload()
    assert storage.write_cutout("photo.png", result_of(b"first"), upload, replaces=None)
    assert not storage.write_cutout("photo.png", result_of(b"second"), upload, replaces=None)
    first = storage.find_cutout("photo.png")
    assert storage.write_cutout("photo.png", result_of(b"third"), upload, replaces=first)
    assert not storage.write_cutout("photo.png", result_of(b"fourth"), upload, replaces=first)


def test_a_result_is_written_whole_after_a_write_that_was_refused(
    clients: Clients, storage: Storage, make_upload: MakeUpload
) -> None:
    result = result_of(b"a whole png")
    assert storage.write_cutout("photo.png", result_of(b"older"), make_upload(), replaces=None)
    assert not storage.write_cutout("photo.png", result, make_upload(), replaces=None)
    result.file.read()  # as by a client that sends its body before it is refused
    assert storage.write_cutout("photo.png", result, make_upload(), replaces=storage.find_cutout("photo.png"))
    assert clients.s3.get_object(Bucket="output", Key="photo.png")["Body"].read() == b"a whole png"


def test_a_cutout_that_should_replace_a_deleted_one_is_not_written(
    clients: Clients, storage: Storage, make_upload: MakeUpload
) -> None:
    storage.write_cutout("photo.png", result_of(b"first"), make_upload(), replaces=None)
    first = storage.find_cutout("photo.png")
    clients.s3.delete_object(Bucket="output", Key="photo.png")
    assert not storage.write_cutout("photo.png", result_of(b"second"), make_upload(), replaces=first)


def test_an_output_bucket_that_is_deleted_in_the_meantime_refuses_the_write(
    clients: Clients, storage: Storage, make_upload: MakeUpload
) -> None:
    assert storage.find_cutout("photo.png") is None
    clients.s3.delete_bucket(Bucket="output")
    with pytest.raises(StorageUnavailable, match=r"write the cutout \(NoSuchBucket\)") as caught:
        storage.write_cutout("photo.png", result_of(b"png"), make_upload(), replaces=None)
    assert caught.value.is_its_own


@pytest.mark.parametrize(
    ("operation", "call", "task", "is_of_upload"),
    [
        ("head_object", lambda storage, upload: storage.find_cutout("k"), "look for the cutout", False),
        ("get_object", lambda storage, upload: storage.look_at(upload), "read the upload", True),
        ("get_object", lambda storage, upload: list(storage.read(Source(upload, b"", 1))), "read the upload", True),
        (
            "put_object",
            lambda storage, upload: storage.write_cutout("k", result_of(b"png"), upload, None),
            "write the cutout",
            False,
        ),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 499, 500, 503])
def test_any_other_error_of_s3_is_unavailable(
    clients: Clients,
    make_upload: MakeUpload,
    operation: str,
    call: Callable[[Storage, Upload], object],
    task: str,
    is_of_upload: bool,
    status: int,
) -> None:
    with Stubber(clients.s3) as stub:
        stub.add_client_error(operation, "SlowDown", "see https://signed?X-Amz-Signature=1", http_status_code=status)
        with pytest.raises(StorageUnavailable) as caught:
            call(Storage(clients.s3, "output"), make_upload())
    assert str(caught.value) == f"S3 did not let the function {task} (SlowDown)."
    assert caught.value.is_its_own is (status < 500)
    assert caught.value.may_be_general is not (is_of_upload and status < 500)
    assert caught.value.__suppress_context__


def test_a_missing_output_bucket_is_noticed_before_anything_is_paid(clients: Clients) -> None:
    with pytest.raises(StorageUnavailable, match=r"find the output bucket \(404\)"):
        Storage(clients.s3, "no-such-bucket").find_cutout("photo.png")


def test_the_output_bucket_is_looked_for_once(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, looks = Storage(clients.s3, "output"), []
    monkeypatch.setattr(clients.s3, "head_bucket", lambda **call: looks.append(call))
    with ThreadPoolExecutor(10) as threads:
        assert list(threads.map(storage.find_cutout, "abcdefghij")) == [None] * 10
    assert len(looks) == 1


def test_an_s3_that_does_not_answer_is_unavailable(
    clients: Clients, make_upload: MakeUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://signed?X-Amz-Signature=1")

    monkeypatch.setattr(clients.s3, "head_object", fail)
    with pytest.raises(StorageUnavailable, match=r"\(EndpointConnectionError\)"):
        Storage(clients.s3, "output").find_cutout("k")


def test_a_write_whose_answer_was_lost_is_not_repeated(
    make_upload: MakeUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been applied: after A, B, A the If-Match would hold again, and B would replace A."""
    sent: list[str] = []

    def lose_answer(**_: object) -> None:
        sent.append("PUT")
        raise ConnectionClosedError(endpoint_url="https://output")

    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    s3 = Clients(threads=1).s3
    s3.meta.events.register_last("before-send.s3.PutObject", lose_answer)
    assert not Storage(s3, "output").write_cutout("k", result_of(b"png"), make_upload(), None)
    assert sent == ["PUT"]


def test_a_concurrent_write_is_not_a_failure(clients: Clients, make_upload: MakeUpload) -> None:
    with Stubber(clients.s3) as stub:
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        assert not Storage(clients.s3, "output").write_cutout("k", result_of(b"png"), make_upload(), None)


@pytest.mark.parametrize("error", [SSLError("bad record mac"), OSError("reset")])
def test_a_body_that_breaks_off_in_a_way_that_the_sdk_does_not_know_is_an_error_of_s3(
    clients: Clients, make_upload: MakeUpload, error: Exception
) -> None:
    class Broken(io.BytesIO):
        def read(self, *_: object, **__: object) -> bytes:
            raise error

    storage = Storage(clients.s3, "output")
    answer = {"ContentRange": "bytes 0-4/5", "LastModified": datetime.now(UTC)}
    with Stubber(clients.s3) as stub:
        for _ in range(2):
            stub.add_response("get_object", {**answer, "Body": StreamingBody(Broken(), 5)})
        said = rf"^S3 did not let the function read the upload \({type(error).__name__}\)\.$"
        with pytest.raises(StorageUnavailable, match=said):
            storage.look_at(make_upload())
        with pytest.raises(StorageUnavailable, match=said):
            list(storage.read(Source(make_upload(), b"", 5)))
