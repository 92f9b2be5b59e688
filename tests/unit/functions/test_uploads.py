import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remove_background.errors import BadNotification
from remove_background.uploads import Upload, read_records, read_upload

EVENTS = Path(__file__).parents[3] / "events"


def body_of(event: str) -> str:
    body = json.loads((EVENTS / event).read_text())["Records"][0]["body"]
    assert isinstance(body, str)
    return body


def test_an_upload_is_read_from_its_record(make_record: Callable[..., dict[str, Any]]) -> None:
    upload = read_upload(make_record("photo.jpg", eTag='"abc"', versionId="v7", sequencer="00AB", size=12))
    assert upload is not None
    assert (upload.bucket, upload.key, upload.etag) == ("input", "photo.jpg", "abc")
    assert (upload.version_id, upload.sequencer, upload.size) == ("v7", "00AB", 12)
    assert upload.uri == "s3://input/photo.jpg"


def test_every_record_of_a_body_is_read() -> None:
    uploads = [read_upload(record) for record in read_records(body_of("two-records.json"))]
    assert [upload.key for upload in uploads if upload] == ["first.jpg", "second.jpg"]


def test_keys_are_decoded_as_s3_encodes_them() -> None:
    (record,) = read_records(body_of("encoded-key.json"))
    upload = read_upload(record)
    assert upload is not None
    assert upload.key == 'summer café/100% "best" 🐈.jpg'


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda key: not key.endswith("/")))
def test_any_key_survives_the_encoding(key: str) -> None:
    record = {"s3": {"bucket": {"name": "input"}, "object": {"key": quote_plus(key), "eTag": "e"}}}
    upload = read_upload(record)
    assert upload is not None
    assert upload.key == key


def test_a_version_is_read_where_there_is_one() -> None:
    versions = [
        upload.version_id if (upload := read_upload(record)) else "not an upload"
        for event in ("versioned-object.json", "upload.json")
        for record in read_records(body_of(event))
    ]
    assert versions == ["096fKKXTRTtl3on89fVO.nfljtsv6qko", None]


def test_the_test_event_holds_nothing() -> None:
    assert read_records(body_of("test-event.json")) == []


@pytest.mark.parametrize("key", ["folder/", "a/b/"])
def test_an_empty_object_whose_key_ends_in_a_slash_is_a_folder(
    make_record: Callable[..., dict[str, Any]], key: str
) -> None:
    assert read_upload(make_record(key, size=0)) is None


@pytest.mark.parametrize("size", [1, 1000, None, float("inf"), float("nan"), -1, "0", []])
def test_an_object_with_bytes_is_an_upload_though_its_key_ends_in_a_slash(
    make_record: Callable[..., dict[str, Any]], size: object
) -> None:
    upload = read_upload(make_record("folder/", size=size))
    assert upload is not None
    assert upload.key == "folder/"


def test_an_empty_object_is_an_upload_when_its_key_does_not_end_in_a_slash(
    make_record: Callable[..., dict[str, Any]],
) -> None:
    upload = read_upload(make_record("folder", size=0))
    assert upload is not None
    assert upload.size == 0


@pytest.mark.parametrize(
    ("size", "read"),
    [("1e999", None), ("-1e999", None), ("NaN", None), ("1.5", None), ('"many"', None), ("{}", None), ("null", None),
     ("-1", -1), ("0", 0), ("5368709120", 5_368_709_120)],
)  # fmt: skip
@pytest.mark.parametrize("body", ["notification", "eventbridge"])
def test_a_size_that_is_not_a_whole_number_does_not_stop_the_upload(
    make_record: Callable[..., dict[str, Any]], size: str, read: int | None, body: str
) -> None:
    event: dict[str, Any] = {"Records": [make_record(size="the size")]}
    if body == "eventbridge":
        event = eventbridge(size="the size")
    (record,) = read_records(json.dumps(event).replace('"the size"', size))
    upload = read_upload(record)
    assert upload is not None
    assert upload.size == read


@pytest.mark.parametrize("version", ["", None])
def test_an_empty_version_is_none(make_record: Callable[..., dict[str, Any]], version: str | None) -> None:
    """As in AWS's own sample events."""
    upload = read_upload(make_record(versionId=version, sequencer=version))
    assert upload is not None
    assert (upload.version_id, upload.sequencer) == (None, None)


SURROGATES = ["\ud800", "photo\udfff.jpg", "\udc80%20"]


@pytest.mark.parametrize("text", SURROGATES)
@pytest.mark.parametrize("field", ["key", "eTag", "versionId", "sequencer"])
def test_a_record_with_a_lone_surrogate_is_a_bad_notification(
    make_record: Callable[..., dict[str, Any]], field: str, text: str
) -> None:
    (record,) = read_records(json.dumps({"Records": [make_record(**{field: text})]}))
    with pytest.raises(BadNotification):
        read_upload(record)


@pytest.mark.parametrize("text", SURROGATES)
def test_a_record_with_a_lone_surrogate_in_its_bucket_is_a_bad_notification(
    make_record: Callable[..., dict[str, Any]], text: str
) -> None:
    record = make_record()
    record["s3"]["bucket"]["name"] = text
    with pytest.raises(BadNotification):
        read_upload(record)


@pytest.mark.parametrize("text", ["%ED%A0%80", "photo%ED%BF%BF.jpg", "%80"])
def test_a_key_that_is_not_utf_8_is_a_bad_notification(make_record: Callable[..., dict[str, Any]], text: str) -> None:
    with pytest.raises(BadNotification):
        read_upload(make_record(text))


@pytest.mark.parametrize("text", SURROGATES)
@pytest.mark.parametrize("field", ["key", "etag", "version-id", "sequencer"])
def test_an_event_of_eventbridge_with_a_lone_surrogate_is_a_bad_notification(field: str, text: str) -> None:
    (record,) = read_records(json.dumps(eventbridge(**{field: text})))
    with pytest.raises(BadNotification):
        read_upload(record)


def test_the_removal_of_an_object_is_not_an_upload(make_record: Callable[..., dict[str, Any]]) -> None:
    assert read_upload(make_record(event="ObjectRemoved:Delete")) is None


@pytest.mark.parametrize(
    "event", ["ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Post"]
)
def test_every_way_to_create_an_object_is_an_upload(make_record: Callable[..., dict[str, Any]], event: str) -> None:
    assert read_upload(make_record(event=event)) is not None


@pytest.mark.parametrize(
    "body",
    ["", "hello", "{", "[]", "null", "7", "{}", '{"Records": []}', '{"Records": {}}', '{"Records": [{}]}',
     '{"Records": [1]}', '{"Records": "s3"}', '{"detail-type": "Object Created"}', "[" * 100_000,
     '{"Records": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"size": ' + "9" * 5000 + "}"],
)  # fmt: skip
def test_a_foreign_body_is_a_bad_notification(body: str) -> None:
    with pytest.raises(BadNotification):
        read_records(body)


def test_the_foreign_sample_is_a_bad_notification() -> None:
    with pytest.raises(BadNotification, match="not an S3 event notification"):
        read_records(body_of("foreign-body.json"))


@pytest.mark.parametrize(
    "s3",
    [
        None,
        "text",
        {},
        {"bucket": {"name": "input"}, "object": {"eTag": "e"}},
        {"bucket": {"name": "input"}, "object": {"key": "k"}},
        {"bucket": {"name": "input"}, "object": {"key": "", "eTag": "e"}},
        {"bucket": {"name": ""}, "object": {"key": "k", "eTag": "e"}},
        {"bucket": {"name": "input"}, "object": {"key": 7, "eTag": "e"}},
        {"bucket": {"name": "input"}, "object": {"key": "%ff", "eTag": "e"}},
        {"bucket": {"name": "input"}, "object": {"key": "k", "eTag": "e", "versionId": 7}},
        {"bucket": {"name": "input"}, "object": {"key": "k", "eTag": "e", "sequencer": 7}},
        {"bucket": {"name": "input"}, "object": {"key": "k", "eTag": ["e"]}},
    ],
)
def test_a_record_that_lacks_something_is_a_bad_notification(s3: object) -> None:
    with pytest.raises(BadNotification):
        read_upload({"eventName": "ObjectCreated:Put", "s3": s3})


EVENTBRIDGE = {
    "version": "0",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "time": "2026-11-12T10:00:00Z",
    "detail": {
        "version": "0",
        "bucket": {"name": "mine"},
        "object": {
            "key": "Été à la mer/100%+.jpg",
            "size": 1000,
            "etag": "0f343b0931126a20f133d67c2b018a3b",
            "version-id": "v1",
            "sequencer": "0055AED6DCD90281E5",
        },
        "reason": "PutObject",
    },
}


def eventbridge(**object_: object) -> dict[str, Any]:
    detail: Any = EVENTBRIDGE["detail"]
    return EVENTBRIDGE | {"detail": detail | {"object": detail["object"] | object_}}


def test_an_event_of_eventbridge_is_read_like_a_notification() -> None:
    (record,) = read_records(json.dumps(EVENTBRIDGE))
    upload = read_upload(record)
    assert upload == Upload(
        bucket="mine",
        key="Été à la mer/100%+.jpg",
        etag="0f343b0931126a20f133d67c2b018a3b",
        version_id="v1",
        sequencer="0055AED6DCD90281E5",
        size=1000,
        time=1794477600.0,
    )
    (again,) = read_records(json.dumps({"Records": [record]}))  # as a letter holds it, and a replay sends it
    assert read_upload(again) == upload


def test_an_event_of_eventbridge_without_a_version_has_none() -> None:
    detail = EVENTBRIDGE["detail"] | {"object": {"key": "a.jpg", "etag": "e", "size": 1}}  # type: ignore[operator]
    (record,) = read_records(json.dumps(EVENTBRIDGE | {"detail": detail}))
    upload = read_upload(record)
    assert upload
    assert (upload.version_id, upload.sequencer) == (None, None)


def test_an_event_of_eventbridge_about_something_else_is_not_an_upload() -> None:
    (record,) = read_records(json.dumps(EVENTBRIDGE | {"detail-type": "Object Deleted"}))
    assert read_upload(record) is None


@pytest.mark.parametrize("body", [{"source": "aws.s3", "detail": {}}, {"source": "aws.ec2", "detail": {}}])
def test_an_event_of_eventbridge_that_names_no_object_is_a_bad_notification(body: object) -> None:
    with pytest.raises(BadNotification):
        read_records(json.dumps(body))


@pytest.mark.parametrize("time", [None, 5, "yesterday", "", "0001-01-01T00:00:00", "\ud800"])
def test_a_time_that_cannot_be_read_does_not_stop_the_upload(
    make_record: Callable[..., dict[str, Any]], time: object
) -> None:
    upload = read_upload(make_record() | {"eventTime": time})
    assert upload
    assert upload.time is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["aws.s3", "ObjectCreated:Put", "Object Created", "a%20b", "%ff", "folder/", "\ud800", 1e999]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["bucket", "object", "name", "key", "eTag", "etag", "size", "versionId", "sequencer"]),
            inner,
        )
    ),
    max_leaves=12,
)
NAMES = st.text(st.characters()) | JSON


@given(
    bucket=st.fixed_dictionaries({"name": NAMES}) | JSON,
    object_=st.fixed_dictionaries({"key": NAMES, "eTag": NAMES, "etag": NAMES}, optional={"size": JSON}) | JSON,
    event=JSON,
    time=JSON,
)
def test_any_record_is_an_upload_or_ignored_or_a_bad_notification(
    bucket: Any,  # noqa: ANN401
    object_: Any,  # noqa: ANN401
    event: Any,  # noqa: ANN401
    time: Any,  # noqa: ANN401
) -> None:
    bodies = (
        {"Records": [{"eventName": event, "eventTime": time, "s3": {"bucket": bucket, "object": object_}}]},
        {"source": "aws.s3", "detail-type": event, "time": time, "detail": {"bucket": bucket, "object": object_}},
    )
    for body in bodies:
        try:
            uploads = [read_upload(record) for record in read_records(json.dumps(body))]
        except BadNotification:
            continue
        for upload in uploads:
            assert upload is None or upload.uri.encode()
