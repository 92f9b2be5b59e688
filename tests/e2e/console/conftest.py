"""The console served on a stack of the local cloud, and a browser that has entered it."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from cutout.console.changes import Changes
from cutout.console.server import serving
from cutout.console.stack import Stack
from cutout.operations import deployment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

STACK = "cutout"
DESKTOP, PHONE = (1280, 800), (390, 844)
# A page may take this long to come to what is waited for.
PATIENCE_MILLISECONDS = 30_000
CHROMIUM = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Aws:
    """The clients of the console: each call is counted by its name, and may be refused as AWS would."""

    session: Any
    endpoint_url: str
    calls: Counter[str] = field(default_factory=Counter)
    _refusals: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict)

    def refuse(self, code: str, *operations: str, message: str = "Refused by the test.", status: int = 400) -> None:
        """From now on refuse calls of these operations, such as "GetQueueAttributes"; without any, all calls."""
        self._refusals = dict.fromkeys(operations or ("*",), (code, message, status))

    def allow(self) -> None:
        self._refusals = {}

    def client(self, service: str) -> Any:  # noqa: ANN401
        if service not in self._clients:
            client = _make_client(self.session, service, self.endpoint_url)
            client.meta.events.register("before-call", self._answer)
            self._clients[service] = client
        return self._clients[service]

    def _answer(self, model: Any, **_: object) -> tuple[Any, dict[str, Any]] | None:  # noqa: ANN401
        self.calls[model.name] += 1
        refusal = self._refusals.get(model.name) or self._refusals.get("*")
        if refusal is None:
            return None
        code, message, status = refusal
        parsed = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return SimpleNamespace(status_code=status, headers={}), parsed


_make_client = deployment._make_client


@dataclass
class Console:
    """A console that is served. `addresses` are those that it printed, the last one still to be opened."""

    aws: Aws
    stack: Stack
    changes: Path
    addresses: list[str]
    _earlier: int = 0

    def begin_test(self) -> None:
        self._earlier = len(self._lines)

    @property
    def noted(self) -> list[dict[str, Any]]:
        """The changes that were noted in this test."""
        return [json.loads(line) for line in self._lines[self._earlier :]]

    @property
    def _lines(self) -> list[str]:
        return self.changes.read_text().splitlines()

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return self.addresses[-1].partition("/enter")[0]

    def enter(self, context: "BrowserContext") -> "Page":
        """A page of the browser, which has the cookie from now on."""
        page = context.new_page()
        page.goto(self.addresses[-1])
        return page


@pytest.fixture(scope="module")
def aws(deployed: Any) -> Aws:  # noqa: ANN401
    session = boto3.Session("local", "local", region_name=deployed.cloud.region)
    return Aws(session, deployed.cloud.endpoint_url)


@pytest.fixture(scope="module")
def serve_console(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Console]]:
    """Serves one or more consoles until the module ends: `serve_console(read_only=True)`."""
    with ExitStack() as consoles, pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployment, "_make_client", lambda session, service, endpoint_url: aws.client(service))

        def serve(*, read_only: bool = False) -> Console:
            changes = tmp_path_factory.mktemp("console") / "console.log"
            return consoles.enter_context(_serving(aws, changes, read_only=read_only))

        yield serve
        aws.allow()


@pytest.fixture(scope="module")
def shared_console(serve_console: Callable[..., Console]) -> Console:
    return serve_console()


@pytest.fixture
def console(shared_console: Console, stack: Any) -> Iterator[Console]:  # noqa: ANN401
    """One for all tests of a module: to serve it, and to learn what there is, takes seconds."""
    shared_console.begin_test()
    yield shared_console
    shared_console.aws.allow()


@contextmanager
def _serving(aws: Aws, changes: Path, *, read_only: bool) -> Iterator[Console]:
    addresses: list[str] = []
    stack = Stack(STACK, lambda: deployment.find(STACK, aws.endpoint_url))
    with serving(stack, 0, Changes(changes, STACK), addresses.append, read_only=read_only):
        yield Console(aws, stack, changes, addresses)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Without a window; tests that need it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser is installed, of chromium, google-chrome")
    with playwright.sync_playwright() as running:
        playwright.expect.set_options(timeout=PATIENCE_MILLISECONDS)
        browser = running.chromium.launch(executable_path=program, args=list(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture
def open_browser(browser: "Browser") -> "Iterator[Callable[..., BrowserContext]]":
    """Opens browsers that know nothing of each other. At the end no script may have failed, or been forbidden."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_browser(size: tuple[int, int] = DESKTOP, **options: Any) -> "BrowserContext":  # noqa: ANN401
        """`options` are Playwright's, such as color_scheme="dark"."""
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        contexts.append(context)
        return context

    yield open_browser
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(console: Console, open_browser: "Callable[..., BrowserContext]") -> "Page":
    """Has entered the console, and shows its first page."""
    return console.enter(open_browser())
