"""The parts of the benchmark that evaluate measurements."""

import re
from pathlib import Path

import pytest

from bench import money, prices
from bench.child import Batch, Log
from bench.report import Goal, Part, Table, as_page, as_text, number
from bench.services import png
from remove_background.png import verify
from remove_background.rate_limiter import MARGIN

A_MB = 1_000_000


def log(wall: float, cpu: float = 0.1, log_bytes: int = 2_000) -> Log:
    cold = Batch(9 * wall, 9 * cpu, log_bytes)
    return Log(0.2, [cold, Batch(2 * wall, 2 * cpu, log_bytes), Batch(wall, cpu, log_bytes)], 90, {"GetSecretValue": 1})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00345, "0.00345"),
        (0.996, "0.996"),
        (1, "1.00"),
        (32.16, "32.2"),
        (999.6, "1,000"),
        (31_537, "31,537"),
    ],
)
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal("", 1.2, 1.2), "met"),
        (Goal("", 1.5, 1.2), "missed by 25%"),
        (Goal("", 180, 150, "MB", stands_in_the_way="the images"), "missed by 20%: the images"),
        (Goal("", 0.96, 0.95, at_least=True), "met"),
        (Goal("", 0.76, 0.95, at_least=True), "missed by 20%"),
        (Goal("", 98.9, 99, at_least=True), "missed by less than 1%"),
    ],
)
def test_a_goal_is_judged(goal: Goal, verdict: str) -> None:
    assert goal.verdict == verdict


def test_a_part_is_written_as_markdown() -> None:
    part = Part(
        "Memory",
        [Table("MB:", ("results", "ours", "why"), [("10 of 1 MB", "105", "small"), ("1 of 1 MB", "", "smaller")])],
        [Goal("Ten", 105, 150, "MB")],
        ["A note."],
        "memory.svg",
    )
    assert as_text(part) == (
        "## Memory\n\nMB:\n\n"
        "| results | ours | why |\n| --- | ---: | --- |\n| 10 of 1 MB | 105 | small |\n| 1 of 1 MB |  | smaller |\n\n"
        "![Memory](memory.svg)\n\n"
        "| Goal | Measured | Bound |  |\n| --- | ---: | --- | --- |\n| Ten | 105 MB | at most 150 MB | met |\n\n"
        "- A note.\n"
    )


def test_the_page_names_date_versions_and_machine() -> None:
    page = as_page([Part("Memory", []), Part("Money", [])])
    assert re.search(r"on 20\d\d-\d\d-\d\d with Python 3\.\d+\.\d+, boto3 \d.*, on \d+ cores, \d+ GB, ", page)
    assert page.index("## Memory") < page.index("## Money")


def test_the_least_of_the_warm_batches_is_used() -> None:
    assert (log(3.2).wall, log(3.2, cpu=0.1).cpu) == (3.2, 0.1)
    assert log(3.2).first.wall == pytest.approx(9 * 3.2)


def test_ours_uses_what_a_hundred_batches_of_ten_use() -> None:
    usage = money.usage_of_ours(log(3.2), {"HeadObject": 1, "GetObject": 1, "UpdateItem": 3, "PutObject": 1})
    assert usage.gb_seconds == pytest.approx(100 * 3.2 * prices.LAMBDA_GB)
    assert usage.storage_gb_seconds == pytest.approx(100 * 3.2 * prices.LAMBDA_STORAGE_GB)
    assert (usage.lambda_requests, usage.sqs_requests) == (100, 1_200)
    assert (usage.s3_puts, usage.s3_gets, usage.dynamodb_writes) == (1_000, 3_000, 3_000)
    assert usage.secrets_calls == money.CONCURRENCY
    assert usage.log_bytes == 100 * (2_000 + prices.LAMBDA_LOG_BYTES)


def test_the_naive_handler_is_invoked_for_each_image() -> None:
    usage = money.usage_of_naive(log(31))
    assert usage.gb_seconds == pytest.approx(1_000 * 3.1 * prices.NAIVE_GB)
    assert (usage.lambda_requests, usage.sqs_requests, usage.secrets_calls) == (1_000, 3_000, 1_000)
    assert usage.log_bytes == 1_000 * (200 + prices.LAMBDA_LOG_BYTES)


def test_costs_are_what_is_used_times_its_price() -> None:
    usage = money.Usage(
        gb_seconds=1_000,
        storage_gb_seconds=1_000_000,
        lambda_requests=1_000_000,
        sqs_requests=1_000_000,
        dynamodb_writes=1_000_000,
        dynamodb_reads=1_000_000,
        s3_puts=1_000,
        s3_gets=1_000,
        secrets_calls=10_000,
        log_bytes=1_000_000_000,
    )
    costs = usage.costs()
    assert list(costs) == list(money.LINES)
    assert list(costs.values()) == pytest.approx([0.0133334, 0.0309, 0.2, 0.4, 0.625, 0.125, 0.005, 0.0004, 0.05, 0.5])
    assert usage.cost == pytest.approx(sum(costs.values()))


def test_a_backlog_at_the_accounts_rate_keeps_all_environments_busy() -> None:
    usage = money.usage_of_naive(log(31))
    paced = money.at_pace(usage)
    seconds = money.CONCURRENCY * 1_000 / 5 * MARGIN
    assert (paced.gb_seconds, paced.storage_gb_seconds) == pytest.approx(
        (seconds * prices.LAMBDA_GB, seconds * prices.LAMBDA_STORAGE_GB)
    )
    assert paced.s3_puts == usage.s3_puts


def test_less_cpu_lengthens_only_the_cpu_time() -> None:
    share = prices.LAMBDA_CORES
    megabytes = prices.LAMBDA_MB
    assert money.gb_seconds_with_little_cpu(log(3.2, cpu=0), megabytes) == pytest.approx(320 * prices.LAMBDA_GB)
    assert money.gb_seconds_with_little_cpu(log(3.2, cpu=3.2), megabytes) == pytest.approx(
        320 * prices.LAMBDA_GB / share
    )


@pytest.mark.parametrize("size", [1_000, A_MB])
def test_the_results_are_whole_pngs_of_the_size_asked_for(size: int, tmp_path: Path) -> None:
    content = png(size)
    assert size <= len(content) <= 1.1 * size + 500
    file = tmp_path / "result.png"
    file.write_bytes(content)
    with file.open("rb") as opened:
        verify(opened, lambda: None)
