"""Every answer of the service becomes a result URL or a typed error, and no error reveals a secret."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import requests
import responses
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from remove_background.connections import Call
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    CutoutError,
    FileSizeTooLarge,
    Forbidden,
    InsufficientCredits,
    InvalidApiKey,
    MalformedImage,
    OutOfTime,
    RateLimitExceeded,
    RequestRefused,
    ResolutionTooHigh,
    ServiceUnavailable,
    Unavailable,
    UnexpectedAnswer,
    UnknownForeground,
    UnsupportedImageFormat,
    redact,
)
from remove_background.pixelcut import MAX_RESULT_URL_LENGTH, Pixelcut

API = "https://api.example.com"
ENDPOINT = f"{API}/v1/remove-background"
SIGNED = "https://bucket.s3.amazonaws.com/a.jpg?X-Amz-Signature=5ec4e7"
RESULT = "https://assets.example.com/result/5ec4e7.png"
KEY = "sk-5ec4e7-5ec4e7"


def no_slot(_: Deadline) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def pixelcut() -> Pixelcut:
    return Pixelcut(requests.Session(), API, lambda _: KEY, no_slot)


def call(pixelcut: Pixelcut, seconds: float = 60) -> str:
    return pixelcut.remove_background_of_url(SIGNED, Deadline(seconds))


def error_of(pixelcut: Pixelcut) -> CutoutError:
    with pytest.raises(CutoutError) as caught:
        call(pixelcut)
    assert_tells_no_secret(caught.value)
    return caught.value


def assert_tells_no_secret(error: BaseException | None) -> None:
    while error is not None:
        assert "5ec4e7" not in f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_the_url_of_the_image_is_posted(service: responses.RequestsMock, pixelcut: Pixelcut) -> None:
    service.post(ENDPOINT, json={"result_url": RESULT})
    assert call(pixelcut) == RESULT
    request = service.calls[0].request
    assert json.loads(request.body or b"") == {"image_url": SIGNED, "format": "png"}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["X-API-KEY"] == KEY


@pytest.mark.parametrize(("format_", "media_type"), [("jpeg", b"image/jpeg"), (None, b"application/octet-stream")])
def test_the_image_itself_is_posted(
    service: responses.RequestsMock, pixelcut: Pixelcut, format_: str | None, media_type: bytes
) -> None:
    sent: list[tuple[str, bytes]] = []

    def receive(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert isinstance(request.body, bytes)
        sent.append((request.headers["Content-Type"], request.body))
        assert request.headers["Content-Length"] == str(len(sent[0][1]))
        return 200, {}, json.dumps({"result_url": RESULT})

    service.add_callback("POST", ENDPOINT, receive)
    image = bytes(range(256)) * 8192  # 2 MiB: more than is kept in memory
    chunks = [image[start : start + 65_536] for start in range(0, len(image), 65_536)]
    assert pixelcut.remove_background_of_image(chunks, format_, Deadline(60)) == RESULT
    ((content_type, body),) = sent
    media, _, boundary = content_type.partition("; boundary=")
    assert media == "multipart/form-data"
    start, wanted, part, end = body.split(b"--" + boundary.encode())
    assert wanted == b'\r\nContent-Disposition: form-data; name="format"\r\n\r\npng\r\n'
    headers, _, content = part.partition(b"\r\n\r\n")
    assert (start, end) == (b"", b"--\r\n")
    assert b'name="image"; filename="image.' in headers
    assert b"Content-Type: " + media_type in headers
    assert content == image + b"\r\n"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "malformed_image", MalformedImage),
        (400, "unsupported_image_format", UnsupportedImageFormat),
        (400, "file_size_too_large", FileSizeTooLarge),
        (400, "resolution_too_high", ResolutionTooHigh),
        (400, "unknown_foreground", UnknownForeground),
        (400, "invalid_request_body", RequestRefused),
        (400, "missing_parameter", RequestRefused),
        (400, "invalid_parameter", RequestRefused),
        (400, "unsupported_content_type", RequestRefused),
        (401, "invalid_auth_token", InvalidApiKey),
        (402, "insufficient_api_credits", InsufficientCredits),
        (403, "insufficient_api_credits", InsufficientCredits),
        (429, "rate_limit_exceeded", RateLimitExceeded),
    ],
)
def test_a_documented_code_becomes_its_error(
    service: responses.RequestsMock, pixelcut: Pixelcut, status: int, code: str, error: type[CutoutError]
) -> None:
    service.post(ENDPOINT, status=status, json={"error": f"Says {SIGNED} and {KEY}", "error_code": code})
    raised = error_of(pixelcut)
    assert type(raised) is error
    assert raised.code == code
    assert raised.billed is Billed.NO


@pytest.mark.parametrize(
    ("status", "error", "billed"),
    [
        (201, UnexpectedAnswer, Billed.YES),
        (302, UnexpectedAnswer, Billed.MAYBE),
        (400, RequestRefused, Billed.MAYBE),
        (401, InvalidApiKey, Billed.NO),
        (403, Forbidden, Billed.NO),
        (404, UnexpectedAnswer, Billed.MAYBE),
        (413, UnexpectedAnswer, Billed.MAYBE),
        (429, RateLimitExceeded, Billed.NO),
        (500, ServiceUnavailable, Billed.MAYBE),
        (503, ServiceUnavailable, Billed.MAYBE),
        (599, ServiceUnavailable, Billed.MAYBE),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>504 Gateway Time-out</html>",
        b'"text"',
        b"[1]",
        b'{"error": 5, "error_code": ["x"]}',
        b'{"error_code": "Not A Code"}',
        b"\xff\xfe",
        b"x" * 100_000,
        b"[" * 60_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_an_undocumented_answer_becomes_an_error(
    service: responses.RequestsMock,
    pixelcut: Pixelcut,
    status: int,
    error: type[CutoutError],
    billed: Billed,
    body: bytes,
) -> None:
    service.post(ENDPOINT, status=status, body=body, headers={"Location": RESULT})
    raised = error_of(pixelcut)
    assert type(raised) is error
    assert raised.billed is billed
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"result_url": null}',
        b'{"result_url": ""}',
        b'{"result_url": "https://a\\ud800"}',
        b'{"result_url": "https://a\\u0000"}',
        b'{"result_url": "' + b"x" * (MAX_RESULT_URL_LENGTH + 1) + b'"}',
        b'{"url": "https://assets.example.com/a.png"}',
        b'["result_url"]',
        b"x" * 100_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_200_without_a_readable_result_url_is_billed(
    service: responses.RequestsMock, pixelcut: Pixelcut, body: bytes
) -> None:
    service.post(ENDPOINT, status=200, body=body)
    raised = error_of(pixelcut)
    assert isinstance(raised, UnexpectedAnswer)
    assert raised.billed is Billed.YES


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_result_url_is_used_with_any_2xx_status(
    service: responses.RequestsMock, pixelcut: Pixelcut, status: int
) -> None:
    service.post(ENDPOINT, status=status, json={"result_url": RESULT})
    assert call(pixelcut) == RESULT


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("exception", "message"),
    [
        (requests.ConnectTimeout(SIGNED), "in time"),
        (requests.ReadTimeout(SIGNED), "in time"),
        (TimeoutError(SIGNED), "in time"),
        (requests.ConnectionError(SIGNED), "connection"),
        (requests.exceptions.ChunkedEncodingError(SIGNED), "connection"),
        (requests.exceptions.SSLError(SIGNED), "connection"),
        (urllib3.exceptions.ProtocolError(SIGNED), "connection"),
        (urllib3.exceptions.LocationParseError(SIGNED), "connection"),
        (http.client.LineTooLong(SIGNED), "connection"),
        (ssl.SSLError(SIGNED), "connection"),
        (UnicodeError(SIGNED), "connection"),
        (ValueError(SIGNED), "connection"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_answer_that_is_lost_may_have_been_billed_once_the_request_was_sent(
    service: responses.RequestsMock,
    pixelcut: Pixelcut,
    monkeypatch: pytest.MonkeyPatch,
    exception: Exception,
    message: str,
    sent: bool,
) -> None:
    monkeypatch.setattr(Call, "sent", property(lambda _: sent, lambda *_: None), raising=False)
    service.post(ENDPOINT, body=exception)
    raised = error_of(pixelcut)
    assert isinstance(raised, ServiceUnavailable)
    assert message in raised.message
    assert (raised.billed, raised.counts_as_charge) == ((Billed.MAYBE, True) if sent else (Billed.NO, False))
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("900", 900.0),
        ("901", 900.0),
        ("9" * 400, 900.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("1e9", None),
        ("NaN", None),
        ("inf", None),
        ("\u00b2", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_kept(
    service: responses.RequestsMock, pixelcut: Pixelcut, header: str | None, seconds: float | None
) -> None:
    service.post(ENDPOINT, status=429, headers={"Retry-After": header} if header else {})
    raised = error_of(pixelcut)
    assert isinstance(raised, RateLimitExceeded)
    assert raised.retry_after == seconds


def test_a_key_that_was_replaced_is_read_again_once(service: responses.RequestsMock) -> None:
    keys = {False: "old", True: "new"}
    service.post(ENDPOINT, status=401, match=[responses.matchers.header_matcher({"X-API-KEY": "old"})])
    service.post(ENDPOINT, json={"result_url": RESULT}, match=[responses.matchers.header_matcher({"X-API-KEY": "new"})])
    assert call(Pixelcut(requests.Session(), API, keys.__getitem__, no_slot)) == RESULT
    assert len(service.calls) == 2


def test_a_replaced_key_sends_the_whole_image_again(service: responses.RequestsMock) -> None:
    bodies = []

    def receive(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        bodies.append(request.body)
        known = request.headers["X-API-KEY"] == "new"
        return (200, {}, json.dumps({"result_url": RESULT})) if known else (401, {}, "")

    service.add_callback("POST", ENDPOINT, receive)
    pixelcut = Pixelcut(requests.Session(), API, {False: "old", True: "new"}.__getitem__, no_slot)
    assert pixelcut.remove_background_of_image([b"image"], "jpeg", Deadline(60)) == RESULT
    assert bodies[0] == bodies[1] != b""


def test_everything_is_ready_before_the_slot_and_each_request_reserves_one(service: responses.RequestsMock) -> None:
    happened: list[str] = []

    @contextmanager
    def slot(_: Deadline) -> Iterator[None]:
        happened.append("slot")
        yield
        happened.append("end")

    def read_key(fresh: bool) -> str:
        happened.append("fresh key" if fresh else "key")
        return "new" if fresh else "old"

    def read_image() -> Iterator[bytes]:
        happened.append("image")
        yield b"image"

    def receive(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        happened.append("request")
        return (200, {}, '{"result_url": "u"}') if request.headers["X-API-KEY"] == "new" else (401, {}, "")

    def prepare(request: requests.PreparedRequest) -> requests.PreparedRequest:
        happened.append("prepared")
        return request

    service.add_callback("POST", ENDPOINT, receive)
    session = requests.Session()
    session.auth = prepare
    Pixelcut(session, API, read_key, slot).remove_background_of_image(read_image(), None, Deadline(60))
    first, second = ["key", "prepared", "slot", "request"], ["fresh key", "prepared", "slot", "request"]
    assert happened == ["image", *first, *second, "end"]


def test_the_environments_certificates_are_used_where_the_session_trusts_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificates = tmp_path / "proxy.pem"
    certificates.touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates))
    session, used = requests.Session(), []

    def send(_: object, __: requests.PreparedRequest, **settings: object) -> None:
        used.append(settings["verify"])
        raise requests.ConnectionError

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    for session.trust_env in (True, False):
        error_of(Pixelcut(session, API, lambda _: KEY, no_slot))
    assert used == [str(certificates), True]


def test_a_url_of_which_no_request_can_be_made_takes_no_slot() -> None:
    def slot(_: Deadline) -> AbstractContextManager[None]:
        pytest.fail("a slot was taken")

    raised = error_of(Pixelcut(requests.Session(), "https://*.example.com", lambda _: KEY, slot))
    assert isinstance(raised, ServiceUnavailable)
    assert (raised.billed, raised.counts_as_charge) == (Billed.NO, False)


@pytest.mark.parametrize("fresh", ["old", "new"])
def test_a_key_that_stays_unknown_is_not_tried_a_third_time(service: responses.RequestsMock, fresh: str) -> None:
    service.post(ENDPOINT, status=401)
    with pytest.raises(InvalidApiKey):
        call(Pixelcut(requests.Session(), API, {False: "old", True: fresh}.__getitem__, no_slot))
    assert len(service.calls) == (1 if fresh == "old" else 2)


def test_without_time_nothing_is_paid(service: responses.RequestsMock, pixelcut: Pixelcut) -> None:
    with pytest.raises(OutOfTime):
        call(pixelcut, seconds=0)
    assert len(service.calls) == 0


def test_the_reason_that_the_service_gives_is_reported(service: responses.RequestsMock, pixelcut: Pixelcut) -> None:
    service.post(ENDPOINT, status=400, json={"error": "Parameter 'format' is off", "error_code": "invalid_parameter"})
    assert "Parameter 'format' is off" in error_of(pixelcut).message


@given(
    secret=st.sampled_from([SIGNED, RESULT, "X-Amz-Signature=5ec4e7", "a%2F5ec4e7", "5ec4e7" * 6]),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
def test_text_from_elsewhere_is_redacted(secret: str, before: str, after: str) -> None:
    assert "5ec4e7" not in redact(f"{before}{secret}{after}")


@given(status=st.integers(201, 599), body=st.binary(max_size=200), code=st.text(max_size=80))
def test_no_answer_crashes_the_client(status: int, body: bytes, code: str) -> None:
    with responses.RequestsMock() as service:
        service.post(ENDPOINT, status=status, body=body or json.dumps({"error": code, "error_code": code}))
        with pytest.raises(CutoutError) as caught:
            call(Pixelcut(requests.Session(), API, lambda _: KEY, no_slot))
    assert isinstance(caught.value, Unavailable) or status in (400, 401, 403)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\x00", "\u202e"])
def test_text_that_cannot_be_written_is_dropped(service: responses.RequestsMock, pixelcut: Pixelcut, text: str) -> None:
    service.post(ENDPOINT, status=400, body=json.dumps({"error": text, "error_code": "invalid_parameter"}))
    raised = error_of(pixelcut)
    raised.message.encode()
    assert raised.message.isprintable()


def test_a_400_with_an_unknown_code_may_be_charged(service: responses.RequestsMock, pixelcut: Pixelcut) -> None:
    """Such as a moderation code, which Pixelcut may charge."""
    service.post(ENDPOINT, status=400, json={"error": "No.", "error_code": "a_code_of_tomorrow"})
    with pytest.raises(RequestRefused) as caught:
        pixelcut.remove_background_of_url("https://image", Deadline(60))
    assert (caught.value.code, caught.value.billed) == ("a_code_of_tomorrow", Billed.MAYBE)
    assert caught.value.counts_as_charge


@pytest.mark.parametrize(("status", "lost"), [(500, False), (502, True), (503, False), (504, True), (524, True)])
def test_an_error_of_a_gateway_counts_as_a_lost_answer(
    service: responses.RequestsMock, pixelcut: Pixelcut, status: int, lost: bool
) -> None:
    service.post(ENDPOINT, status=status, body="<html>Gateway Time-out</html>")
    assert error_of(pixelcut).counts_as_charge is lost


@pytest.mark.parametrize("status", [302, 402, 404, 409, 422, 451])
def test_a_status_that_is_not_documented_may_be_charged(
    service: responses.RequestsMock, pixelcut: Pixelcut, status: int
) -> None:
    service.post(ENDPOINT, status=status)
    assert error_of(pixelcut).counts_as_charge


@pytest.mark.parametrize("code", ["invalid_parameter", "missing_parameter", "invalid_request_body"])
def test_a_400_about_the_request_is_not_charged(service: responses.RequestsMock, pixelcut: Pixelcut, code: str) -> None:
    service.post(ENDPOINT, status=400, json={"error": "No.", "error_code": code})
    refused = error_of(pixelcut)
    assert (refused.billed, refused.counts_as_charge) == (Billed.NO, False)


@pytest.mark.parametrize("code", ["no_reason", "in_progress", "insufficient_api_credits", "malformed_image_"])
def test_a_400_with_one_of_our_codes_is_a_refusal_without_a_code(
    service: responses.RequestsMock, pixelcut: Pixelcut, code: str
) -> None:
    service.post(ENDPOINT, status=400, json={"error": "No.", "error_code": code})
    assert error_of(pixelcut).code == ("malformed_image_" if code == "malformed_image_" else "request_refused")


@pytest.mark.parametrize("status", [200, 201, 400, 403, 404, 429, 500])
def test_no_message_says_what_becomes_of_the_upload(
    service: responses.RequestsMock, pixelcut: Pixelcut, status: int
) -> None:
    service.post(ENDPOINT, status=status)
    assert "again" not in error_of(pixelcut).message


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ('{"credits_remaining": 42}', 42.0),
        ('{"credits_remaining": "42"}', 42.0),
        ('{"credits_remaining": NaN}', None),
        ('{"credits_remaining": 1e999}', None),
        ('{"credits_remaining": "-Infinity"}', None),
        (f'{{"credits_remaining": {"9" * 400}}}', None),
        (f'{{"credits_remaining": {"9" * 5000}}}', None),
        ('{"credits_remaining": [1]}', None),
        ("{}", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_credits_are_a_number_or_unknown(
    service: responses.RequestsMock, pixelcut: Pixelcut, answer: str, left: float | None
) -> None:
    service.get(f"{API}/v1/credits", body=answer)
    assert pixelcut.read_credits() == left
