"""Rules that make an event source mapping deliver messages as badly as AWS may."""

import random
import threading
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class DeliveryFault:
    """`throttled`: no concurrency is free, so a received batch, which SQS counts, does not reach the function.

    `repeated`: SQS delivers a deleted message again, after up to `delay_seconds`.
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html
    """

    kind: Literal["throttled", "repeated"]
    queue: str = ""  # a part of its ARN
    contains: str = ""  # a part of the body of a message; of any message of the batch
    times: int | None = None  # batches or messages; None: all
    rate: float = 1  # the share of them that the seed picks
    delay_seconds: float = 1


class DeliveryFaults:
    """The faults in force. The first that matches applies."""

    def __init__(self, *faults: DeliveryFault, seed: int = 0) -> None:
        self._faults = faults
        self._fired = [0] * len(faults)
        self._draw = random.Random(seed)  # noqa: S311 (no secret is drawn)
        self._lock = threading.Lock()

    def throttles(self, queue: str, bodies: list[str]) -> bool:
        return self._next("throttled", queue, bodies) is not None

    def repeats_after(self, queue: str, body: str) -> float | None:
        """Seconds until a message that is about to be deleted is delivered again; None: never."""
        fault = self._next("repeated", queue, [body])
        if fault is None:
            return None
        with self._lock:
            return self._draw.uniform(0, fault.delay_seconds)

    def fired(self) -> list[int]:
        """How often each fault has fired, in order."""
        with self._lock:
            return list(self._fired)

    def _next(self, kind: str, queue: str, bodies: list[str]) -> DeliveryFault | None:
        with self._lock:
            for number, fault in enumerate(self._faults):
                spent = fault.times is not None and self._fired[number] >= fault.times
                applies = fault.kind == kind and fault.queue in queue and not spent
                if applies and any(fault.contains in body for body in bodies) and self._draw.random() < fault.rate:
                    self._fired[number] += 1
                    return fault
        return None
