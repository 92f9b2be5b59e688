"""When the stack is found anew."""

from typing import cast

import pytest

from cutout.console import stack as stack_module
from cutout.console.stack import KEPT_SECONDS, Stack
from cutout.operations.deployment import Deployment
from tests.unit.fakes import Clock


def test_many_refusals_at_a_time_have_the_stack_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "time", clock := Clock())
    found: list[object] = []

    def find() -> Deployment:
        found.append(object())
        return cast("Deployment", found[-1])

    stack = Stack("cutout", find)
    for _ in range(60):
        assert stack.deployed is found[-1]
        stack.forget()
    assert len(found) == 1
    clock.now += KEPT_SECONDS
    stack.forget()
    assert stack.deployed is found[1]
