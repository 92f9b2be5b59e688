"""How the command finds the stack, and what it says where it cannot."""

import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from cutout.failures import describe
from cutout.operations import deployment
from cutout.operations.deployment import Deployment


def test_a_stack_that_is_not_there_is_named(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    call = cutout("status", "--stack-name", "nope")
    assert call.code == 1
    assert call.err.startswith("Error: There is no stack nope at ")
    assert "--stack-name" in call.err


def test_a_stack_of_something_else_is_named(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    cloudformation = deployment._make_client(None, "cloudformation", None)  # type: ignore[arg-type]
    cloudformation.create_stack(StackName="other", TemplateBody='{"Resources": {}}')
    call = cutout("status", "--stack-name", "other")
    assert call.code == 1
    assert "has no output InputBucketName" in call.err


def test_the_environment_names_the_stack(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTOUT_STACK_NAME", "production")
    assert "no stack production" in cutout("status").err


def test_cloudtrail_sees_which_calls_are_the_commands(deployed: Deployment) -> None:
    agents = []
    deployed.sqs.meta.events.register("before-send", lambda request, **_: agents.append(request.headers["User-Agent"]))
    deployed.sqs.list_queues()
    assert [agent.split()[0] for agent in agents] == [b"cutout"]


@pytest.mark.parametrize(("name", "used"), [("AWS_REGION", "sa-east-1"), ("AWS_DEFAULT_REGION", "sa-east-1")])
def test_either_variable_names_the_region(monkeypatch: pytest.MonkeyPatch, name: str, used: str) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv(name, used)
    regions = []

    def stop(session: Any, service: str, endpoint_url: str | None) -> Any:  # noqa: ANN401
        regions.append(session.region_name)
        raise exceptions.NoRegionError

    monkeypatch.setattr(deployment, "_make_client", stop)
    with pytest.raises(exceptions.NoRegionError):
        deployment.find("cutout", None)
    assert regions == [used]


@pytest.mark.parametrize("url", ["localhost:4566", "localhost", "http://"])
def test_an_endpoint_that_is_not_a_url_is_reported(
    cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    given = cutout("status", "--endpoint-url", url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    for call in (given, cutout("status")):
        assert call.code == 1
        assert "cannot be used as a URL" in call.err
        assert "http://" in call.err


@pytest.mark.parametrize("arguments", [(), ("--endpoint-url", "http://localhost:4566")])
def test_without_a_region_either_way_to_set_one_is_told(
    cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    call = cutout("status", *arguments)
    assert call.code == 1
    assert call.err == (
        "Error: No AWS region is set. Set AWS_REGION to the one that the stack is in; for `cutout local`, paste the "
        "two export lines that it prints.\n"
    )


def test_an_impossible_region_is_reported_as_such(cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu central")
    assert "region_name 'eu central'" in cutout("status").err


def refusal(code: str, operation: str = "ListBuckets") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "Because."}}, operation)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (exceptions.NoCredentialsError(), "Set AWS_PROFILE"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="secret"), "Set AWS_PROFILE"),
        (exceptions.NoRegionError(), "Set AWS_REGION"),
        (exceptions.ProfileNotFound(profile="nobody"), "nobody"),
        (exceptions.EndpointConnectionError(endpoint_url="http://localhost:1/"), "http://localhost:1/ does not answer"),
        (exceptions.ConnectTimeoutError(endpoint_url="http://localhost:1/"), "http://localhost:1/ does not answer"),
        (exceptions.ReadTimeoutError(endpoint_url="http://localhost:1/"), "http://localhost:1/ does not answer"),
        (exceptions.ProxyConnectionError(proxy_url="http://proxy"), "does not answer"),
        (exceptions.SSLError(endpoint_url="https://s3.test/", error=OSError()), "set AWS_CA_BUNDLE"),
        (refusal("ExpiredToken"), "Log in again"),
        (refusal("400", "HeadObject"), "most likely they have expired. Log in again"),
        (refusal("400", "HeadBucket"), "most likely they have expired. Log in again"),
        (refusal("AccessDenied"), "does not allow these credentials to call ListBuckets"),
        (refusal("SlowDown"), "AWS throttles ListBuckets (SlowDown)"),
    ],
)
def test_an_error_is_reported_in_a_sentence_with_the_remedy(error: BotoCoreError | ClientError, said: str) -> None:
    told = describe(error)
    assert said in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "command", ["demo", "local", "upload", "download", "status", "logs", "open", "backfill", "pause", "resume", "cap"]
)
def test_help_gives_an_example(cutout: Callable[..., Any], command: str) -> None:
    assert f"Example: cutout {command}" in cutout(command, "--help").out


@pytest.mark.parametrize("command", ["list", "show", "replay", "discard"])
def test_help_of_letters_gives_an_example(cutout: Callable[..., Any], command: str) -> None:
    assert f"Example: cutout letters {command}" in cutout("letters", command, "--help").out


def test_open_prints_the_pages_of_the_console(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    monkeypatch.setattr("typer.launch", launched.append)
    console = "https://eu-central-1.console.aws.amazon.com"
    pages = {
        "dashboard": f"{console}/cloudwatch/home?region=eu-central-1#dashboards/dashboard/cutout",
        "input": f"{console}/s3/buckets/input?region=eu-central-1",
        "output": f"{console}/s3/buckets/output?region=eu-central-1",
    }
    assert cutout("open", "--json").json == pages
    assert cutout("open").out.splitlines() == [f"{name.capitalize()}: {url}" for name, url in pages.items()]
    assert launched == []
    monkeypatch.setattr("cutout.commands.open.sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True)))
    cutout("open")
    assert launched == list(pages.values())


def test_open_says_where_a_stack_is_that_is_not_at_aws(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deployment, "endpoint_url", "http://localhost:4566")
    call = cutout("open")
    assert (call.code, call.err) == (0, "")
    assert call.out.startswith("The stack is at http://localhost:4566, which has no AWS console.")
    assert "s3://input and s3://output" in call.out
    assert cutout("open", "--json").json == {"dashboard": None, "input": None, "output": None}


@pytest.mark.parametrize("command", ["", "demo", "local", "upload", "status", "letters", "letters list"])
def test_h_is_help(cutout: Callable[..., Any], command: str) -> None:
    call = cutout(*command.split(), "-h")
    assert (call.code, call.out) == (0, cutout(*command.split(), "--help").out)


def test_the_shell_can_complete_the_command(cutout: Callable[..., Any]) -> None:
    assert "--install-completion" in cutout("--help").out


def test_the_shell_can_complete_a_code() -> None:
    call = "import sys; sys.argv = ['cutout']; from cutout.__main__ import main; main()"
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "_CUTOUT_COMPLETE": "complete_bash",
        "COMP_WORDS": "cutout letters replay --code resolution",
        "COMP_CWORD": "4",
    }
    done = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["resolution_too_high", "resolution_too_low"]
