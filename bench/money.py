"""What 1,000 images cost at AWS, from what was measured and assumed prices."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from bench import calls as calls_
from bench import invocation, prices
from bench.calls import Calls
from bench.child import Log
from bench.invocation import IMAGES, SLOW
from bench.report import Goal, Part, Table, as_text, number
from remove_background.rate_limiter import MARGIN

# From the template: the account's requests per second, and how many batches may run at once.
REQUESTS_PER_SECOND = 5
CONCURRENCY = 3
SLOWER_CONCURRENCY = 5  # for an API that takes 7 s
MOST_GB_SECONDS = 200


@dataclass(frozen=True, slots=True)
class Usage:
    """For 1,000 images."""

    gb_seconds: float
    storage_gb_seconds: float
    lambda_requests: float
    sqs_requests: float
    dynamodb_writes: float
    dynamodb_reads: float
    s3_puts: float
    s3_gets: float
    secrets_calls: float
    log_bytes: float

    def costs(self) -> dict[str, float]:
        """USD, by the name of the field."""
        return {field.name: getattr(self, field.name) * PRICES[field.name] for field in fields(self)}

    @property
    def cost(self) -> float:
        return sum(self.costs().values())


PRICES: Mapping[str, float] = {
    "gb_seconds": prices.LAMBDA_GB_SECOND,
    "storage_gb_seconds": prices.LAMBDA_STORAGE_GB_SECOND,
    "lambda_requests": prices.LAMBDA_REQUEST,
    "sqs_requests": prices.SQS_REQUEST,
    "dynamodb_writes": prices.DYNAMODB_WRITE,
    "dynamodb_reads": prices.DYNAMODB_READ,
    "s3_puts": prices.S3_PUT,
    "s3_gets": prices.S3_GET,
    "secrets_calls": prices.SECRETS_CALL,
    "log_bytes": prices.LOG_BYTE,
}
LINES = {
    "gb_seconds": "Lambda, GB-seconds",
    "storage_gb_seconds": "Lambda, GB-seconds of /tmp",
    "lambda_requests": "Lambda, requests",
    "sqs_requests": "SQS, requests",
    "dynamodb_writes": "DynamoDB, writes",
    "dynamodb_reads": "DynamoDB, reads",
    "s3_puts": "S3, PUT",
    "s3_gets": "S3, GET and HEAD",
    "secrets_calls": "Secrets Manager, calls",
    "log_bytes": "CloudWatch Logs, bytes",
}


def usage_of_ours(log: Log, calls: Mapping[str, float]) -> Usage:
    """`calls` are those of one image."""
    batches = 1000 / IMAGES
    return Usage(
        gb_seconds=batches * log.wall * prices.LAMBDA_GB,
        storage_gb_seconds=batches * log.wall * prices.LAMBDA_STORAGE_GB,
        lambda_requests=batches,
        sqs_requests=1000 + 2 * batches,  # S3 sends each; Lambda receives and deletes ten at once
        dynamodb_writes=1000 * calls["UpdateItem"],
        dynamodb_reads=1000 * calls.get("GetItem", 0),
        s3_puts=1000 * calls["PutObject"],
        s3_gets=1000 * (calls["HeadObject"] + calls["GetObject"] + 1),  # Pixelcut fetches the image
        # 1,000 images take less than the five minutes for which an environment keeps the key.
        secrets_calls=CONCURRENCY * log.calls["GetSecretValue"],
        log_bytes=batches * (log.log_bytes + prices.LAMBDA_LOG_BYTES),
    )


def usage_of_naive(log: Log) -> Usage:
    return Usage(
        gb_seconds=1000 / IMAGES * log.wall * prices.NAIVE_GB,
        storage_gb_seconds=0,
        lambda_requests=1000,
        sqs_requests=3 * 1000,  # sent, received and deleted one by one
        dynamodb_writes=0,
        dynamodb_reads=0,
        s3_puts=1000,
        s3_gets=1000,
        secrets_calls=1000,
        log_bytes=1000 * (log.log_bytes / IMAGES + prices.LAMBDA_LOG_BYTES),
    )


def at_pace(usage: Usage, concurrency: int = CONCURRENCY) -> Usage:
    """With a backlog that keeps all environments busy: requests wait for their slots in Lambda."""
    seconds = 1000 * MARGIN / REQUESTS_PER_SECOND * concurrency
    return replace(usage, gb_seconds=seconds * prices.LAMBDA_GB, storage_gb_seconds=seconds * prices.LAMBDA_STORAGE_GB)


def gb_seconds_with_little_cpu(log: Log, megabytes: int) -> float:
    """For 1,000 images, with CPU time scaled to the share of a core that comes with the memory."""
    cores = megabytes / prices.CORE_MB
    return 1000 / IMAGES * (log.wall + log.cpu * (1 / cores - 1)) * megabytes / 1024


def measure(runs: invocation.Runs | None = None, calls: Calls | None = None) -> Part:
    runs = runs or invocation.measure_runs(("ours", "naive"), (SLOW,))
    calls = calls or calls_.count()
    our_log, naive_log = runs["ours", SLOW], runs["naive", SLOW]
    ours, naive = usage_of_ours(our_log, calls.backlog), usage_of_naive(naive_log)
    keyless = replace(naive, secrets_calls=0)
    small = replace(naive, gb_seconds=naive.gb_seconds * prices.LAMBDA_GB / prices.NAIVE_GB)
    our_costs = ours.costs()
    shares = sorted(((cost / ours.cost, LINES[name]) for name, cost in our_costs.items()), reverse=True)
    slow_ours = gb_seconds_with_little_cpu(our_log, prices.LAMBDA_MB)
    slow_naive = gb_seconds_with_little_cpu(naive_log, prices.NAIVE_MB)
    return Part(
        "Money",
        [
            Table(
                f"1,000 images, the API at 3 s, ours with {prices.LAMBDA_MB} MB and the naive handler with "
                f"{prices.NAIVE_MB}, without Pixelcut's price and without traffic to the internet (the same bytes "
                "leave in both). Prices: `bench/prices.py`.",
                ("", "ours", "USD", "naive", "USD"),
                _lines(ours, naive),
            ),
            Table(
                "The same where batches wait for their slots, which Lambda charges for:",
                ("", "GB-seconds", "USD in all", "GB-seconds, naive = 1", "USD, naive = 1"),
                [
                    _against("Full batches that wait for no slot, as above", ours, naive),
                    *(
                        _against(
                            f"A backlog at {REQUESTS_PER_SECOND} requests a second, {batches} batches at once",
                            at_pace(ours, batches),
                            naive,
                        )
                        for batches in (CONCURRENCY, SLOWER_CONCURRENCY)
                    ),
                ],
            ),
        ],
        [
            Goal(
                f"GB-seconds of 1,000 images in a backlog at {REQUESTS_PER_SECOND} requests a second",
                at_pace(ours).gb_seconds,
                MOST_GB_SECONDS,
            ),
            Goal("GB-seconds, over the naive handler's", ours.gb_seconds / naive.gb_seconds, 1 / 8),
            Goal(
                "All costs, over the naive handler's",
                ours.cost / naive.cost,
                1 / 3,
                stands_in_the_way=f"the cutouts' PUT costs {number(our_costs['s3_puts'])} USD in both, the writes of "
                f"ledger and rate limiter {number(our_costs['dynamodb_writes'])} USD",
            ),
        ],
        [
            "Ours consists of " + ", ".join(f"{line} {share:.0%}" for share, line in shares if share >= 0.01) + ".",
            (
                "What would lower it: fewer batches at once where the API is quick, since uploads wait for their slots "
                "in the queue at no cost. The PUT of the cutout, half of it all, is the same for any handler."
            ),
            (
                f"Without its reading the key for each image, the naive handler would cost {_usd(keyless.cost)} USD, "
                f"and ours {number(ours.cost / keyless.cost)} of it."
            ),
            (
                f"With {prices.LAMBDA_MB} MB, too, the naive handler would cost {_usd(small.cost)} USD, "
                f"and ours {number(ours.cost / small.cost)} of it, {number(ours.gb_seconds / small.gb_seconds)} of its "
                "GB-seconds."
            ),
            (
                f"With the CPU stretched to the share of a core that comes with the memory (ours "
                f"{prices.LAMBDA_CORES:.2f}): {number(slow_ours)} GB-seconds, the naive handler {number(slow_naive)}, "
                f"a ratio of {number(slow_ours / slow_naive)}."
            ),
            (
                f"An upload that comes alone is a batch of one, at about {number(10 * ours.gb_seconds)} GB-seconds for "
                "1,000: no better than the naive handler's."
            ),
            (
                f"Not per image: five pollers that find the queue empty receive {prices.POLLS_MONTH:,} times a month, "
                f"{number(prices.POLLS_MONTH * prices.SQS_REQUEST)} USD; the same for any handler behind a queue."
            ),
        ],
    )


def _lines(ours: Usage, naive: Usage) -> list[tuple[str, ...]]:
    our_costs, naive_costs = ours.costs(), naive.costs()
    lines: list[tuple[str, ...]] = [
        (line, _quantity(ours, name), _usd(our_costs[name]), _quantity(naive, name), _usd(naive_costs[name]))
        for name, line in LINES.items()
    ]
    return [*lines, ("all", "", _usd(ours.cost), "", _usd(naive.cost))]


def _quantity(usage: Usage, name: str) -> str:
    return number(getattr(usage, name))


def _against(case: str, ours: Usage, naive: Usage) -> tuple[str, ...]:
    return (
        case,
        number(ours.gb_seconds),
        _usd(ours.cost),
        number(ours.gb_seconds / naive.gb_seconds),
        number(ours.cost / naive.cost),
    )


def _usd(amount: float) -> str:
    return f"{amount:.4f}"


if __name__ == "__main__":
    print(as_text(measure()))
