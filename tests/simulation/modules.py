"""What the code under test gets in place of `time`, `threading`, `uuid`, `random` and `datetime`: all deterministic."""

import contextlib
import datetime as dt
import threading as real_threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

from .processes import Lock, Process, call


def _now() -> float:
    return Process.current.process.now if Process.current else 0.0


def _sleep(seconds: float) -> None:
    if seconds > 0:
        call("clock", "sleep", seconds)


class _Uuid:
    def __init__(self) -> None:
        assert Process.current
        process = Process.current.process
        process.tokens += 1
        self.hex = f"token-{process.serial}-{process.tokens}"

    def __str__(self) -> str:
        return self.hex


class _Datetime(dt.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return dt.datetime.fromtimestamp(_now(), tz)


def _get_ident() -> int:
    assert Process.current
    return Process.current.process.tasks.index(Process.current)


class _Threading(SimpleNamespace):
    def __getattr__(self, name: str) -> Any:
        return getattr(real_threading, name)


REPLACEMENTS: dict[str, Any] = {
    "time": SimpleNamespace(time=_now, monotonic=_now, sleep=_sleep),
    "threading": _Threading(Lock=Lock, get_ident=_get_ident),
    "uuid": SimpleNamespace(uuid4=_Uuid),
    "random": SimpleNamespace(uniform=lambda least, most: most, random=lambda: 0.5),
    "secrets": SimpleNamespace(token_hex=lambda _=None: _Uuid().hex),
    "datetime": _Datetime,
}


@contextlib.contextmanager
def replaced(modules: list[ModuleType]) -> Iterator[None]:
    """Each name of REPLACEMENTS that a module has imported stands for its replacement, until the end."""
    before = [
        (module, name, getattr(module, name)) for module in modules for name in REPLACEMENTS if hasattr(module, name)
    ]
    for module, name, _ in before:
        setattr(module, name, REPLACEMENTS[name])
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
