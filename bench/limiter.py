"""The rate limiters of some execution environments, with nothing to do besides."""

import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import SimpleNamespace

import boto3
from botocore.config import Config

from remove_background.caps import Caps
from remove_background.deadline import Deadline
from remove_background.intake import Intake
from remove_background.rate_limiter import RateLimiter

THREADS = 10  # of an environment


@dataclass(frozen=True, slots=True)
class Environments:
    """So many of them send `requests` in all, each with an answer after `latency` seconds."""

    number: int
    requests: int
    latency: float
    rate: float

    def run_apart(self, endpoint_url: str, region: str, table: str) -> list[float]:
        """When the requests were sent, in order, in seconds since the epoch.

        In a process of its own: in one with the local cloud the threads would wait for each other.
        """
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(self.run, endpoint_url, region, table).result()

    def run(self, endpoint_url: str, region: str, table: str) -> list[float]:
        dynamodb = boto3.client(
            "dynamodb",
            endpoint_url=endpoint_url,
            region_name=region,
            aws_access_key_id="bench",
            aws_secret_access_key="bench",  # noqa: S106 the local cloud takes any
            config=Config(proxies={}, max_pool_connections=self.number * THREADS),
        )
        clients = SimpleNamespace(dynamodb=dynamodb, dynamodb_once=dynamodb)
        sent: list[float] = []
        left = threading.Semaphore(self.requests)

        def work(limiter: RateLimiter) -> None:
            while left.acquire(blocking=False):
                with limiter.slot(Deadline(100)):
                    sent.append(time.time())
                    time.sleep(self.latency)

        with ThreadPoolExecutor(self.number * THREADS) as threads:
            running = []
            for _ in range(self.number):
                intake = Intake(dynamodb, table, failures_in_a_row=10)
                limiter = RateLimiter(clients, table, self.rate, intake, Caps(None, None, "UTC"))
                running += [threads.submit(work, limiter) for _ in range(THREADS)]
            for thread in running:
                thread.result()
        return sorted(sent)
