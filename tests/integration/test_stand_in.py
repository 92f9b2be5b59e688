"""The stand-in's API, its limits and its switches, over HTTP."""

import hashlib
import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from cutout.local.pixelcut.faults import Rule
from cutout.local.pixelcut.removal_request import MAX_IMAGE_BYTES
from cutout.local.pixelcut.server import API_KEY, Settings, StandIn
from cutout.local.pixelcut.switches import FAULTS

KEY = {"X-API-KEY": API_KEY}
PNG = b"\x89PNG\r\n\x1a\n"

Post = Callable[..., requests.Response]


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@pytest.fixture
def post(stand_in: StandIn, session: requests.Session, photo: bytes) -> Post:
    """Asks for a removal; without a body it uploads the photo."""

    def send(*, headers: dict[str, str] | None = None, **body: object) -> requests.Response:
        url = f"{stand_in.url}/v1/remove-background"
        content: dict[str, Any] = dict(body) or {"files": {"image": ("photo.jpg", photo)}}
        return session.post(url, headers=KEY | (headers or {}), timeout=20, **content)

    return send


@pytest.fixture
def site(photo: bytes) -> Iterator[str]:
    """A web site: `/photo.jpg`, `/moved` (to it), `/secret` (403), `/loop` and `/endless`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            self.send_response({"/moved": 302, "/loop": 302, "/secret": 403}.get(path, 200))
            if path in ("/moved", "/loop"):
                self.send_header("Location", "/loop" if path == "/loop" else "/photo.jpg")
            self.end_headers()
            try:
                if path.endswith("photo.jpg"):
                    self.wfile.write(photo)
                while path == "/endless":
                    self.wfile.write(bytes(1_000_000))
            except ConnectionError:  # the stand-in has seen enough
                self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refusal(response: requests.Response) -> tuple[int, str]:
    content = response.json()
    assert set(content) == {"error", "error_code"}
    return response.status_code, content["error_code"]


def test_json_holds_the_url_of_a_png(post: Post, site: str, session: requests.Session, stand_in: StandIn) -> None:
    answer = post(json={"image_url": f"{site}/photo.jpg", "format": "png"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"result_url"}
    assert answer.json()["result_url"].startswith(f"{stand_in.url}/public/result/")
    result = session.get(answer.json()["result_url"], timeout=10)
    assert result.headers["Content-Type"] == "image/png"
    cutout = Image.open(io.BytesIO(result.content))
    assert (cutout.format, cutout.mode, cutout.size) == ("PNG", "RGBA", (512, 512))


def test_an_uploaded_image_gives_the_same_cutout_as_its_url(post: Post, site: str) -> None:
    fetched = post(json={"image_url": f"{site}/photo.jpg"}, headers={"Accept": "image/*"})
    assert fetched.content.startswith(PNG)
    assert post(headers={"Accept": "image/*"}).content == fetched.content
    form = {"image_url": (None, f"{site}/photo.jpg"), "format": (None, "png")}
    assert post(files=form, headers={"Accept": "image/*"}).content == fetched.content


def test_the_image_wins_over_the_url(post: Post, photo: bytes) -> None:
    assert post(files={"image": ("a.jpg", photo), "image_url": (None, "http://127.0.0.1:1/")}).status_code == 200


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("image/*", "image/png"),
        ("image/png", "image/png"),
        ("application/json, image/*", "application/json"),
        ("application/json;q=0.5, image/*", "image/png"),
        ("image/*;q=0.5, */*;q=0.1", "image/png"),
        ("text/html", "application/json"),
    ],
)
def test_accept_chooses_the_answer(post: Post, accept: str | None, content_type: str) -> None:
    answer = post(headers={"Accept": accept})  # None: requests leaves it out
    assert answer.headers["Content-Type"] == content_type
    assert answer.content.startswith(PNG) is (content_type == "image/png")


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("invalid_request_body", {"data": b""}),
        ("invalid_request_body", {"data": b"", "headers": {"Content-Type": "application/json"}}),
        ("invalid_request_body", {"data": b"{", "headers": {"Content-Type": "application/json"}}),
        ("invalid_request_body", {"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}),
        ("invalid_request_body", {"json": ["image_url"]}),
        ("invalid_request_body", {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
        ("invalid_request_body", {"data": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}),
        ("missing_parameter", {"json": {}}),
        ("missing_parameter", {"json": {"format": "png", "image": "x"}}),
        ("missing_parameter", {"files": {"format": (None, "png")}}),
        ("invalid_parameter", {"json": {"image_url": None}}),
        ("invalid_parameter", {"json": {"image_url": "photo.jpg"}}),
        ("invalid_parameter", {"json": {"image_url": "file:///etc/hostname"}}),
        ("invalid_parameter", {"json": {"image_url": "http://[broken"}}),
        ("invalid_parameter", {"json": {"image_url": "http://127.0.0.1:1/refused"}}),
        ("invalid_parameter", {"json": {"image_url": "http://127.0.0.1/", "format": "jpg"}}),
        ("invalid_parameter", {"files": {"image": (None, "no file name")}}),
        ("unsupported_content_type", {"data": {"image_url": "http://127.0.0.1/"}}),
        ("unsupported_content_type", {"data": b"x", "headers": {"Content-Type": "image/jpeg"}}),
        ("malformed_image", {"files": {"image": ("a.jpg", b"\xff\xd8\xff\xe0\0")}}),
        ("unsupported_image_format", {"files": {"image": ("a.jpg", b"<svg/>")}}),
        ("file_size_too_large", {"files": {"image": ("a.jpg", bytes(MAX_IMAGE_BYTES + 1))}}),
        ("file_size_too_large", {"files": {"image": ("a.jpg", bytes(2 * MAX_IMAGE_BYTES))}}),
    ],
)
def test_says_what_is_wrong_with_a_request(post: Post, stand_in: StandIn, code: str, body: dict[str, object]) -> None:
    assert refusal(post(**body)) == (400, code)
    assert stand_in.state()["charges"] == []


@pytest.mark.parametrize(
    ("size", "code"), [((63, 64), "invalid_parameter"), ((6001, 64), "resolution_too_high"), ((64, 64), None)]
)
def test_enforces_the_limits_of_the_resolution(post: Post, size: tuple[int, int], code: str | None) -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(buffer, "PNG")
    answer = post(files={"image": ("a.png", buffer.getvalue())})
    assert answer.status_code == 200 if code is None else refusal(answer) == (400, code)


def test_accepts_the_largest_image(post: Post, photo: bytes) -> None:
    padded = photo + bytes(MAX_IMAGE_BYTES - len(photo))
    assert post(files={"image": ("a.jpg", padded)}).status_code == 200


def test_an_image_of_one_colour_has_an_unknown_foreground(post: Post) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), "navy").save(buffer, "PNG")
    assert refusal(post(files={"image": ("a.png", buffer.getvalue())})) == (400, "unknown_foreground")


@pytest.mark.parametrize(
    ("path", "code"),
    [("/secret", "invalid_parameter"), ("/loop", "invalid_parameter"), ("/endless", "file_size_too_large")],
)
def test_reports_a_failed_fetch_without_the_url(post: Post, site: str, path: str, code: str) -> None:
    answer = post(json={"image_url": f"{site}{path}?X-Amz-Signature=abc"})
    assert refusal(answer) == (400, code)
    assert "abc" not in answer.text
    assert site not in answer.text


def test_follows_a_redirect(post: Post, site: str) -> None:
    assert post(json={"image_url": f"{site}/moved"}).status_code == 200


def test_requires_a_known_key(post: Post, stand_in: StandIn, session: requests.Session) -> None:
    assert refusal(post(headers={"X-API-KEY": "wrong"})) == (401, "invalid_auth_token")
    assert refusal(session.get(f"{stand_in.url}/v1/credits", timeout=10)) == (401, "invalid_auth_token")
    stand_in.change_settings(keys={API_KEY: "forbidden", "other": "good"})
    assert refusal(post()) == (403, "insufficient_api_credits")
    assert post(headers={"X-API-KEY": "other"}).status_code == 200


def test_a_success_costs_a_credit_and_a_failure_none(stand_in: StandIn, post: Post, session: requests.Session) -> None:
    stand_in.change_settings(credits=2)
    assert post(json={}).status_code == 400
    assert post().status_code == 200
    balance = session.get(f"{stand_in.url}/v1/credits", headers=KEY, timeout=10)
    assert balance.json() == {"credits_remaining": 1}
    assert post().status_code == 200
    assert refusal(post()) == (403, "insufficient_api_credits")
    assert session.get(f"{stand_in.url}/v1/credits", headers=KEY, timeout=10).json() == {"credits_remaining": 0}


def test_the_last_credits_are_spent_once(stand_in: StandIn, photo: bytes) -> None:
    stand_in.change_settings(credits=3)

    def ask(_: int) -> int:
        url = f"{stand_in.url}/v1/remove-background"
        return requests.post(url, headers=KEY, files={"image": photo}, timeout=20).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(8)))
    assert sorted(statuses) == [200] * 3 + [403] * 5
    assert stand_in.state()["credits_charged"] == 3


def test_every_charge_names_what_was_paid_for(post: Post, site: str, photo: bytes, stand_in: StandIn) -> None:
    result = post(json={"image_url": f"{site}/a%20b/photo.jpg?X-Amz-Signature=abc"}, headers={"Accept": "image/*"})
    post()
    first, second = stand_in.state()["charges"]
    assert first["source"] == "/a%20b/photo.jpg"
    assert first["input_sha256"] == hashlib.sha256(photo).hexdigest()
    assert first["result_sha256"] == hashlib.sha256(result.content).hexdigest()
    assert second | {"time": 0} == first | {"time": 0, "source": None}
    assert "abc" not in str(stand_in.state())


def test_the_request_rate_is_limited_for_the_account(stand_in: StandIn) -> None:
    stand_in.change_settings(requests_per_second=2, keys={API_KEY: "good", "other": "good"})

    def ask(key: str) -> requests.Response:
        return requests.get(f"{stand_in.url}/v1/credits", headers={"X-API-KEY": key}, timeout=10)

    started = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, [API_KEY, "other"] * 8))
    seconds = time.monotonic() - started
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert 2 <= len(accepted) <= 2 * (seconds + 1)
    assert {refusal(answer) for answer in answers if answer not in accepted} == {(429, "rate_limit_exceeded")}
    stand_in.change_settings(requests_per_second=None)
    assert ask(API_KEY).status_code == 200


def test_requests_are_counted_by_when_they_arrived(post: Post, stand_in: StandIn) -> None:
    stand_in.change_settings(requests_per_second=1)
    stand_in.set_faults(Rule(on="removal", times=1, delay_seconds=1.5))
    with ThreadPoolExecutor(1) as pool:
        delayed = pool.submit(post)
        while not sum(stand_in.state()["faults"]["fired"]):
            time.sleep(0.01)
        assert post().status_code == 200
    assert refusal(delayed.result()) == (429, "rate_limit_exceeded")


def test_removals_at_the_same_time_are_limited(post: Post, stand_in: StandIn) -> None:
    stand_in.change_settings(concurrent_requests=2, latency_seconds=0.5)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: post(), range(6)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 1 <= len(refused) <= 4
    assert {refusal(answer) for answer in refused} == {(429, "rate_limit_exceeded")}
    assert post().status_code == 200  # the others have ended
    assert stand_in.state()["credits_charged"] == 7 - len(refused)


def test_a_result_expires(post: Post, stand_in: StandIn, session: requests.Session) -> None:
    url = post().json()["result_url"]
    assert session.get(url, timeout=10).status_code == 200
    stand_in.change_settings(result_seconds=0)
    assert refusal(session.get(url, timeout=10)) == (404, "not_found")
    post()  # which sweeps
    stand_in.change_settings(result_seconds=3600)
    assert session.get(url, timeout=10).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/remove-background", 405, "POST"),
        ("OPTIONS", "/v1/remove-background", 405, "POST"),
        ("POST", "/v1/credits", 405, "GET"),
        ("GET", "/v2/credits", 404, None),
        ("GET", "/public/result/none.png", 404, None),
    ],
)
def test_unknown_paths_and_methods_are_answered_in_json(
    stand_in: StandIn, session: requests.Session, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = session.request(method, stand_in.url + path, headers=KEY, timeout=10)
    assert refusal(answer)[0] == status
    assert (allow is None) or allow in answer.headers["Allow"].split(", ")


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_can_fail_a_number_of_answers(post: Post, stand_in: StandIn, status: int) -> None:
    stand_in.set_faults(Rule(on="removal", times=2, status=status, headers={"Retry-After": "7"}))
    answers = [post() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].json()["error_code"]
    assert stand_in.state()["credits_charged"] == 1
    assert stand_in.state()["answers"] == {"removal": {str(status): 2, "200": 1}}


def test_can_fail_at_a_rate_that_a_seed_reproduces(stand_in: StandIn, session: requests.Session) -> None:
    def statuses(seed: int) -> list[int]:
        stand_in.set_faults(Rule(on="credits", rate=0.5, status=500), seed=seed)
        return [session.get(f"{stand_in.url}/v1/credits", headers=KEY, timeout=10).status_code for _ in range(40)]

    first = statuses(1)
    assert 8 < first.count(500) < 32
    assert statuses(1) == first
    assert statuses(2) != first


@pytest.mark.parametrize(
    ("rule", "content_type", "body"),
    [
        (Rule(on="removal", status=502, body="<h1>", headers={"Content-Type": "text/html"}), "text/html", b"<h1>"),
        (Rule(on="removal", status=500, body=""), "application/json", b""),
        (Rule(on="removal", status=200, body="{}"), "application/json", b"{}"),
        (Rule(on="removal", status=400, error_code="new_code"), "application/json", None),
    ],
)
def test_can_answer_anything(post: Post, stand_in: StandIn, rule: Rule, content_type: str, body: bytes | None) -> None:
    stand_in.set_faults(rule)
    answer = post()
    assert (answer.status_code, answer.headers["Content-Type"]) == (rule.status, content_type)
    assert answer.content == body if body is not None else answer.json()["error_code"] == "new_code"


@pytest.mark.parametrize(("after", "charged"), [(False, 0), (True, 1)])
def test_can_drop_a_connection_before_or_after_the_charge(
    post: Post, stand_in: StandIn, after: bool, charged: int
) -> None:
    stand_in.set_faults(Rule(on="removal", times=1, drop=True, after=after))
    with pytest.raises(requests.ConnectionError):
        post()
    assert stand_in.state()["credits_charged"] == charged
    assert stand_in.state()["answers"] == {"removal": {"dropped": 1}}
    assert post().status_code == 200


def test_a_reset_sends_an_answer_that_is_held_back(post: Post, stand_in: StandIn, session: requests.Session) -> None:
    stand_in.set_faults(Rule(on="credits", delay_seconds=60))
    with pytest.raises(requests.ReadTimeout):
        session.get(f"{stand_in.url}/v1/credits", headers=KEY, timeout=0.2)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(requests.get, f"{stand_in.url}/v1/credits", headers=KEY, timeout=30)
        while sum(stand_in.state()["faults"]["fired"]) < 2:
            time.sleep(0.01)
        stand_in.reset()
        assert slow.result().status_code == 200


def test_can_cut_a_download_short(post: Post, stand_in: StandIn, session: requests.Session) -> None:
    url = post().json()["result_url"]
    whole = session.get(url, timeout=10).content
    stand_in.set_faults(Rule(on="download", times=1, cut=0.5))
    with session.get(url, timeout=10, stream=True) as answer:
        assert answer.headers["Content-Length"] == str(len(whole))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(answer.iter_content(10_000))
    assert session.get(url, timeout=10).content == whole


def test_can_slow_a_download_down(post: Post, stand_in: StandIn, session: requests.Session) -> None:
    url = post().json()["result_url"]
    whole = session.get(url, timeout=10).content
    stand_in.set_faults(Rule(on="download", bytes_per_second=2 * len(whole)))
    started = time.monotonic()
    assert session.get(url, timeout=10).content == whole
    assert time.monotonic() - started >= 0.4


def test_latency_delays_every_answer(stand_in: StandIn, session: requests.Session) -> None:
    stand_in.change_settings(latency_seconds=0.2)
    started = time.monotonic()
    assert session.get(f"{stand_in.url}/v1/credits", headers=KEY, timeout=10).status_code == 200
    assert time.monotonic() - started >= 0.2


def test_the_switches_work_over_http(stand_in: StandIn, session: requests.Session) -> None:
    def switch(method: str, name: str, content: object = None) -> requests.Response:
        return session.request(method, f"{stand_in.url}/_stand_in/{name}", json=content, timeout=10)

    assert switch("PATCH", "settings", {"credits": 5, "latency_seconds": 0.001}).json()["settings"]["credits"] == 5
    rules = [{"on": "credits", "times": 1, "status": 503}]
    assert switch("PUT", "faults", {"rules": rules}).json()["faults"]["rules"][0]["status"] == 503
    assert session.get(f"{stand_in.url}/v1/credits", headers=KEY, timeout=10).status_code == 503
    state = switch("GET", "state").json()
    assert state["faults"]["fired"] == [1]
    assert state["answers"] == {"credits": {"503": 1}}
    assert switch("POST", "reset").json()["settings"] == Settings().model_dump()
    assert switch("GET", "state").json()["faults"]["rules"] == []


@pytest.fixture
def press(stand_in: StandIn, session: requests.Session) -> Post:
    """Presses a button on the page of switches; returns the page that follows."""

    def send(button: str, **fields: object) -> requests.Response:
        return session.post(f"{stand_in.url}/_stand_in/", data={"do": button, **fields}, timeout=10)

    return send


def test_a_page_shows_the_switches(stand_in: StandIn, session: requests.Session) -> None:
    page = session.get(f"{stand_in.url}/_stand_in", timeout=10)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Credits: 1,000,000 left, 0 charged." in page.text


@pytest.mark.parametrize("fault", FAULTS)
def test_each_button_of_the_page_makes_something_go_wrong(stand_in: StandIn, press: Post, fault: str) -> None:
    page = press(fault, times="2")
    assert page.status_code == 200
    assert "has fired 0 of 2 times" in page.text
    (rule,) = stand_in.state()["faults"]["rules"]
    assert rule["times"] == 2
    press("nothing")
    assert stand_in.state()["faults"]["rules"] == []


def test_the_page_shows_what_was_answered(post: Post, press: Post) -> None:
    press("unavailable", times="")
    assert post().status_code == 503
    page = press("settings", credits="7", latency_seconds="0.5", requests_per_second="")
    assert "removal: 1 x 503" in page.text
    assert "{&quot;on&quot;: &quot;removal&quot;, &quot;status&quot;: 503} has fired 1 times" in page.text
    assert "Credits: 7 left" in page.text
    assert "Credits: 1,000,000 left" in press("reset").text


@pytest.mark.parametrize(
    "fields", [{"do": "explode"}, {}, {"do": "slow", "times": "0"}, {"do": "settings", "credits": "many"}]
)
def test_a_wrong_button_changes_nothing(stand_in: StandIn, session: requests.Session, fields: dict[str, str]) -> None:
    before = stand_in.state()
    assert session.post(f"{stand_in.url}/_stand_in/", data=fields, timeout=10).status_code == 400
    assert stand_in.state() == before


@pytest.mark.parametrize(
    ("method", "name", "content"),
    [
        ("PATCH", "settings", {"credit": 5}),
        ("PATCH", "settings", {"credits": -1}),
        ("PATCH", "settings", [1]),
        ("PUT", "faults", {"rules": [{"on": "nowhere"}]}),
        ("PUT", "faults", {"rules": [{"on": "removal", "time": 3}]}),
        ("PUT", "faults", {"rules": [{"on": "removal", "times": "3"}]}),
        ("PUT", "faults", {"rules": [{"on": "removal", "body": "without a status"}]}),
        ("PUT", "faults", [{"on": "removal"}]),
    ],
)
def test_a_wrong_switch_changes_nothing(
    stand_in: StandIn, session: requests.Session, method: str, name: str, content: object
) -> None:
    before = stand_in.state()
    answer = session.request(method, f"{stand_in.url}/_stand_in/{name}", json=content, timeout=10)
    assert refusal(answer) == (400, "invalid_switch")
    assert stand_in.state() == before


def test_answers_quickly_enough_for_load_tests(post: Post) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert post().status_code == 200
        return time.perf_counter() - started

    assert min(seconds() for _ in range(10)) < 0.1


def test_runs_as_a_process_that_cuts_a_person_out_of_a_photo(photo: bytes) -> None:
    command = [sys.executable, "-m", "cutout.local.pixelcut.server", "--key", "k", "--credits", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            headers = {"X-API-KEY": "k", "Accept": "image/*"}
            answer = requests.post(f"{url}/v1/remove-background", headers=headers, files={"image": photo}, timeout=60)
            assert requests.get(f"{url}/v1/credits", headers=headers, timeout=10).json() == {"credits_remaining": 0}
        finally:
            process.terminate()
        assert process.wait(timeout=10) == 0
    cutout = Image.open(io.BytesIO(answer.content))
    alpha = np.asarray(cutout)[..., 3]
    height, width = alpha.shape
    assert cutout.size == Image.open(io.BytesIO(photo)).size
    assert alpha[height // 4, int(width * 0.44)] == 255, "the face is missing"
    assert alpha[: height // 3, int(width * 0.7) :].mean() < 10, "the wall is still there"
    assert 0.2 < (alpha > 127).mean() < 0.7
