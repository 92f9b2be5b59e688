"""The stand-in and its result host answer slowly, byte by byte, or stop in the middle of an answer."""

import json
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import requests

from cutout.local.pixelcut.faults import Rule
from cutout.local.pixelcut.server import API_KEY, StandIn


@dataclass
class Arrival:
    """What was received on a socket, and when, in seconds since the request."""

    moments: list[tuple[float, bytes]] = field(default_factory=list)
    closed_after: float | None = None

    @property
    def content(self) -> bytes:
        return b"".join(data for _, data in self.moments)

    @property
    def header(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[2]

    def seconds_until(self, count: int) -> float:
        """When this many bytes had arrived."""
        total = 0
        for moment, data in self.moments:
            total += len(data)
            if total >= count:
                return moment
        raise AssertionError(f"only {total} bytes came")


def watch(url: str, path: str, *, seconds: float) -> Arrival:
    """Read for this long, or until the connection is closed."""
    parts = urlsplit(url)
    begun, arrival = time.monotonic(), Arrival()
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nX-API-KEY: {API_KEY}\r\n\r\n".encode())
        while (left := begun + seconds - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                data = connection.recv(65_536)
            except TimeoutError:
                break
            if not data:
                arrival.closed_after = time.monotonic() - begun
                break
            arrival.moments.append((time.monotonic() - begun, data))
    return arrival


@pytest.fixture
def result_path(stand_in: StandIn, photo: bytes) -> str:
    answer = requests.post(
        f"{stand_in.url}/v1/remove-background", headers={"X-API-KEY": API_KEY}, files={"image": photo}, timeout=20
    )
    return str(urlsplit(answer.json()["result_url"]).path)


@pytest.fixture(params=["/v1/credits", "a result"])
def path(request: pytest.FixtureRequest, result_path: str) -> str:
    return result_path if request.param == "a result" else str(request.param)


def rule(path: str, **how: object) -> Rule:
    return Rule.model_validate({"on": "credits" if path == "/v1/credits" else "download", **how})


def test_headers_come_byte_by_byte(stand_in: StandIn, path: str) -> None:
    stand_in.set_faults(rule(path, header_bytes_per_second=20))
    arrival = watch(stand_in.url, path, seconds=1.5)
    assert b"\r\n\r\n" not in arrival.content
    assert 10 <= len(arrival.content) <= 40
    assert len(arrival.moments) >= 8
    assert max(len(data) for _, data in arrival.moments) <= 6


def test_a_body_comes_byte_by_byte_after_quick_headers(stand_in: StandIn, path: str) -> None:
    stand_in.set_faults(rule(path, bytes_per_second=5))
    arrival = watch(stand_in.url, path, seconds=1.5)
    assert arrival.seconds_until(len(arrival.header) + 4) < 0.5
    assert 4 <= len(arrival.body) <= 9
    assert len(arrival.moments) >= 5


@pytest.mark.parametrize("count", [0, 7])
def test_a_body_stops_and_the_connection_stays_open(stand_in: StandIn, path: str, count: int) -> None:
    stand_in.set_faults(rule(path, stall_after=count))
    arrival = watch(stand_in.url, path, seconds=1)
    assert arrival.header.startswith(b"HTTP/1.1 200")
    assert len(arrival.body) == count
    assert arrival.closed_after is None


def test_a_body_may_be_slow_and_then_stop(stand_in: StandIn, path: str) -> None:
    stand_in.set_faults(rule(path, bytes_per_second=10, stall_after=3))
    arrival = watch(stand_in.url, path, seconds=1.2)
    assert len(arrival.body) == 3
    assert len(arrival.moments) >= 3


def test_a_connection_is_lost_between_the_headers_and_the_body(stand_in: StandIn, path: str) -> None:
    stand_in.set_faults(rule(path, cut=0))
    arrival = watch(stand_in.url, path, seconds=5)
    assert arrival.header.startswith(b"HTTP/1.1 200")
    assert arrival.body == b""
    assert arrival.closed_after is not None


def test_only_what_the_rule_matches_is_slow(stand_in: StandIn, path: str) -> None:
    stand_in.set_faults(rule(path, times=1, bytes_per_second=1))
    watch(stand_in.url, path, seconds=0.5)
    with requests.get(f"{stand_in.url}{path}", headers={"X-API-KEY": API_KEY}, timeout=2) as answer:
        assert answer.status_code == 200
        assert answer.content


def test_a_client_that_leaves_ends_its_slow_answer(stand_in: StandIn, path: str) -> None:
    stand_in.set_faults(rule(path, stall_after=0))
    for _ in range(40):  # more than the stand-in has threads
        assert watch(stand_in.url, path, seconds=0.1)
    ends = time.monotonic() + 10
    while stand_in.state()["answers"][rule(path).on]["200"] < 40:
        assert time.monotonic() < ends, "a thread waits for a client that has left"
        time.sleep(0.05)
    stand_in.set_faults()
    assert requests.get(f"{stand_in.url}{path}", headers={"X-API-KEY": API_KEY}, timeout=5).status_code == 200


def test_a_reset_ends_slow_answers(stand_in: StandIn) -> None:
    stand_in.set_faults(Rule(on="credits", stall_after=0))
    parts = urlsplit(stand_in.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(f"GET /v1/credits HTTP/1.1\r\nHost: {parts.netloc}\r\nX-API-KEY: {API_KEY}\r\n\r\n".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        stand_in.reset()
        assert connection.recv(65_536) == b""


def test_a_charged_answer_may_be_slow_too(stand_in: StandIn, photo: bytes) -> None:
    stand_in.set_faults(Rule(on="removal", times=1, stall_after=5))
    url = f"{stand_in.url}/v1/remove-background"
    with pytest.raises(requests.ConnectionError):  # which is how requests names a read that times out in the body
        requests.post(url, headers={"X-API-KEY": API_KEY}, files={"image": photo}, timeout=1)
    assert stand_in.state()["credits_charged"] == 1


def test_a_success_with_another_name_for_its_url_is_charged(stand_in: StandIn, photo: bytes) -> None:
    body = json.dumps({"resultUrl": "https://example.invalid/a.png"})
    stand_in.set_faults(Rule(on="removal", after=True, status=200, body=body))
    url = f"{stand_in.url}/v1/remove-background"
    answer = requests.post(url, headers={"X-API-KEY": API_KEY}, files={"image": photo}, timeout=20)
    assert (answer.status_code, answer.text) == (200, body)
    assert stand_in.state()["credits_charged"] == 1


def test_a_firewall_page_may_refuse_one_image(stand_in: StandIn) -> None:
    page = "<html><h1>403 Forbidden</h1></html>"
    forbidden = Rule(on="removal", source="/bad.jpg", status=403, body=page, headers={"Content-Type": "text/html"})
    stand_in.set_faults(forbidden)
    url = f"{stand_in.url}/v1/remove-background"

    def ask(name: str) -> tuple[int, str]:
        body = {"image_url": f"http://127.0.0.1:1/{name}?X-Amz-Signature=abc"}
        answer = requests.post(url, headers={"X-API-KEY": API_KEY}, json=body, timeout=20)
        return answer.status_code, answer.headers["Content-Type"]

    assert ask("bad.jpg") == (403, "text/html")
    assert ask("good.jpg") == (400, "application/json")
    assert stand_in.state()["credits_charged"] == 0
