"""Changes that were described to somebody and are to be confirmed, each once."""

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Plan = TypeVar("Plan")

# Those that nobody confirms are forgotten. One of 100,000 letters takes megabytes.
MOST = 20


class Confirmations(Generic[Plan]):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def remember(self, plan: Plan) -> str:
        """The id that confirms it."""
        identifier = secrets.token_urlsafe()
        with self._lock:
            self._plans[identifier] = plan
            while len(self._plans) > MOST:
                self._plans.popitem(last=False)
        return identifier

    def take(self, identifier: str) -> Plan | None:
        """None if it was confirmed before, or is not known any more."""
        with self._lock:
            return self._plans.pop(identifier, None)
