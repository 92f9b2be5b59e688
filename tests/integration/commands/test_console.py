"""`cutout console`: what it prints and takes, and that it serves what it says."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_socket
import requests

from cutout.commands import console
from cutout.operations.deployment import Deployment


@pytest.fixture(autouse=True)
def _sockets(_no_sockets: None) -> None:
    pytest_socket.enable_socket()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "console.log"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[requests.Response]:
    """What a browser that is opened by the command is shown, before Ctrl-C."""
    addresses: list[str] = []
    pages: list[requests.Response] = []

    def browse() -> None:
        with requests.Session() as browser:
            pages.extend(browser.get(address, timeout=10) for address in addresses)
        raise KeyboardInterrupt

    def open_browser(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", open_browser)
    monkeypatch.setattr(console, "_wait", browse)
    return pages


def test_it_serves_the_page_until_ctrl_c(
    deployed: Deployment, cutout: Callable[..., Any], pages: list[requests.Response], log: Path
) -> None:
    call = cutout("console", "--open", "--log", str(log))

    assert call.code == 0
    first, how, opened, end = call.out.splitlines()
    assert first.startswith("Open http://127.0.0.1:")
    assert how == f"Ctrl-C ends it. Each change is a line in {log}."
    assert opened.startswith("It was opened. For another browser: http://127.0.0.1:")
    assert end == "Stopped."
    (page,) = pages
    assert page.status_code == 200
    assert "Pause" in page.text
    with pytest.raises(requests.ConnectionError):
        requests.get(page.url, timeout=10)


def test_one_that_only_reads_offers_no_change(
    deployed: Deployment, cutout: Callable[..., Any], pages: list[requests.Response], log: Path
) -> None:
    call = cutout("console", "--open", "--read-only", "--log", str(log))

    assert "Ctrl-C ends it.\n" in call.out
    (page,) = pages
    assert "<button" not in page.text


def test_without_a_browser_it_goes_on(
    deployed: Deployment,
    cutout: Callable[..., Any],
    pages: list[requests.Response],
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _: False)

    call = cutout("console", "--open", "--log", str(log))

    assert (call.code, call.err) == (0, "No browser could be opened.\n")


def test_a_port_that_is_taken_is_wrong_usage(deployed: Deployment, cutout: Callable[..., Any], log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        call = cutout("console", "--port", port, "--log", str(log))

    assert call.code == 2
    assert f"{port} is taken." in call.err


def test_a_log_that_cannot_be_written_is_wrong_usage(
    deployed: Deployment, cutout: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    call = cutout("console", "--log", str(tmp_path / "file" / "console.log"))

    assert call.code == 2
    assert "--log" in call.err
