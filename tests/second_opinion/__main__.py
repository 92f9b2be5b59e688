"""A second opinion on the stack, from clouds that are not ours: `make second-opinion`.

- ministack: AWS's clients deploy the template as it is, and use it; its Rules and its parameters refuse what they
  should; then the table of tests/e2e/fault_cases.py.
- dynalite: the unit tests of what writes to DynamoDB.

docs/local-cloud.md lists what the clouds do differently from each other and from AWS.
"""

import logging
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from botocore.exceptions import ClientError

from cutout.local.pixelcut.server import API_KEY, StandIn
from tests.deploy.check import ROOT, Client, Failed, step
from tests.e2e.fault_cases import ALL_CASES, SLOW_CASES, Case
from tests.e2e.test_fault_matrix import TWINS, Played, expected, play
from tests.second_opinion.cloud import ACCESS_KEY, SecondCloud

SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:"
ONE_BUCKET = {"ExistingInputBucket": "pictures", "ExistingOutputBucket": "pictures"}
# Parameters, and what CloudFormation says of them. moto checks neither Rules nor parameters.
REFUSED: tuple[tuple[dict[str, str], str], ...] = (
    (ONE_BUCKET, "set InputPrefix, and an OutputKey that begins with something else"),
    (ONE_BUCKET | {"InputPrefix": "in/"}, "set an OutputKey that begins with something else than InputPrefix"),
    ({"OutputKey": "cutout.png"}, "must hold {key}, {stem} or {name}"),
    ({"OutputKey": "{stem}{size}.png"}, "must hold {key}, {stem} or {name}"),
    ({"MaximumConcurrency": "1"}, "not less than 2"),
    ({"PresignedUrlSeconds": "179"}, "not less than 180"),
    ({"ImageDelivery": "fax"}, "AllowedValues"),
    ({"DailyCredits": "0"}, "must be a whole number from 1"),
    ({"CapTimeZone": "Europe Berlin"}, "must be the name of a time zone"),
    ({"CreditPrice": "0.10"}, "must be a number and a currency"),
    ({"PixelcutApiUrl": "https://example.com/v1"}, "must be a scheme and a host"),
)
# The secret that the parameter names, and the one that the function may read.
READABLE = {
    f"{SECRET}pixelcut-AbCdEf": f"{SECRET}pixelcut-AbCdEf",
    "pixelcut": f"{SECRET}pixelcut-??????",
}
TEMPLATE = ROOT / "template.yaml"
EXPRESSIONS = ("ledger", "rate_limiter", "caps", "intake", "reopen_intake")
PLUGIN = ("-p", "tests.second_opinion.on_dynalite")
IN_TWO = ("--numprocesses", "2", "--dist", "worksteal")


def deploy_and_use(folder: Path) -> None:
    """The template as it is, deployed by `sam` and used by `aws` and `cutout`. Raises Failed."""
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    client = Client(folder, Path(sys.executable))
    with SecondCloud(folder / "log", runs_functions=True) as cloud, StandIn() as stand_in:
        credentials = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": ACCESS_KEY}
        client.use({"AWS_ENDPOINT_URL": cloud.endpoint_url} | credentials)
        with step("ministack: sam deploy"):
            parameters = f"PixelcutApiUrl={stand_in.url}"
            client.run(
                "sam", "deploy", "--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", parameters
            )
            outputs = client.outputs()
        with step("ministack: aws secretsmanager put-secret-value, aws s3 cp"):
            secret = ["--secret-id", outputs["ApiKeySecretName"], "--secret-string", API_KEY]
            client.run("aws", "secretsmanager", "put-secret-value", *secret)
            client.cut_out("first.jpg", outputs, "first.png")
        with step("ministack: cutout upload, status, letters, backfill, pause, resume"):
            client.use_command(folder)
        with step("ministack: ReopenIntake closes what is paused"):
            client.cutout("pause", "--yes")
            check_closing(cloud, outputs)


def check_closing(cloud: SecondCloud, outputs: Mapping[str, str]) -> None:
    """The intake is paused, and its mapping is not. Raises Failed."""
    functions = cloud.client("lambda")
    (mapping,) = functions.list_event_source_mappings(FunctionName=outputs["FunctionName"])["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    answer = functions.invoke(FunctionName=outputs["ReopenIntakeName"])
    state = functions.get_event_source_mapping(UUID=mapping["UUID"])["State"]
    if "FunctionError" in answer or state != "Disabled":
        raise Failed(f"ReopenIntake left the mapping {state}: {answer['Payload'].read().decode()}")


def check_parameters(folder: Path) -> None:
    """Raises Failed."""
    with SecondCloud(folder / "log") as cloud:
        with step(f"ministack: {len(REFUSED)} sets of parameters that are refused"):
            for number, (parameters, reason) in enumerate(REFUSED):
                try:
                    cloud.deploy(TEMPLATE, stack_name=f"refused-{number}", parameters=parameters)
                except ClientError as error:
                    if reason not in str(error):
                        raise Failed(f"{parameters}: {error}") from error
                else:
                    raise Failed(f"{parameters} was not refused")
        with step("ministack: the secret that the function may read"):
            iam = cloud.client("iam")
            for number, (parameter, readable) in enumerate(READABLE.items()):
                name = f"secret-{number}"
                cloud.deploy(TEMPLATE, stack_name=name, parameters={"PixelcutApiKeySecret": parameter})
                roles = [role["RoleName"] for role in iam.list_roles()["Roles"]]
                (role,) = (role for role in roles if role.startswith(f"{name}-RemoveBackgroundRole-"))
                policy = iam.get_role_policy(RoleName=role, PolicyName="RemoveBackground")["PolicyDocument"]
                (found,) = (part["Resource"] for part in policy["Statement"] if part["Sid"] == "ReadApiKey")
                if found != readable:
                    raise Failed(f"with PixelcutApiKeySecret {parameter} the function may read {found}")


def differences(cases: Mapping[str, Case], played: Played) -> dict[str, str]:
    """What each upload that ended otherwise should have been, and was."""
    found = {}
    for name, case in cases.items():
        ending = played.endings.get(name)
        if ending is None:
            found[name] = f"no ending instead of {case.ends}"
        elif ending != (wanted := expected(case, ending)):
            found[name] = f"{ending} instead of {wanted}"
    if played.stopped:
        found |= {name: "a slow peer stopped an invocation" for name in SLOW_CASES if name in cases}
    return found


def play_table(folder: Path) -> str:
    """Raises Failed for a case that ends otherwise than the table says, twice: the second time it has the machine.

    Returns which cases needed the second time.
    """
    cases: Mapping[str, Case] = ALL_CASES
    late = ""
    while True:
        attempt = folder / ("again" if late else "table")
        attempt.mkdir()
        with step(f"ministack: the fault matrix, {len(cases)} cases"), SecondCloud(attempt / "log") as cloud:
            played = play(cloud, cases, attempt)
        found = differences(cases, played)
        if not found:
            return late
        text = "\n".join(f"{name}: {difference}" for name, difference in found.items())
        if late:
            raise Failed(text)
        print(text)
        late = ", ".join(found)
        names = found.keys() | (TWINS if found.keys() & TWINS else set())
        cases = {name: ALL_CASES[name] for name in names}


def run_expressions() -> str:
    """What pytest says at its end. Raises Failed."""
    with step(f"dynalite: {', '.join(EXPRESSIONS)}"):
        tests = [f"tests/unit/functions/test_{name}.py" for name in EXPRESSIONS]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *PLUGIN, *IN_TWO, *tests],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        raise Failed(done.stdout)
    return done.stdout.splitlines()[-1]


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: its child processes are ended
    logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns of each answer that is cut short on purpose
    with tempfile.TemporaryDirectory(prefix="cutout-second-opinion-") as name:
        folder = Path(name)
        try:
            (folder / "unedited").mkdir()
            deploy_and_use(folder / "unedited")
            check_parameters(folder / "parameters")
            late = play_table(folder)
            tests = run_expressions()
        except Failed as failed:
            sys.exit(str(failed))
    rows = {
        "ministack, template deployed and used": "as on the local cloud",
        "ministack, parameters": f"{len(REFUSED)} sets refused, {len(READABLE)} secrets readable",
        "ministack, fault matrix": f"{len(ALL_CASES)} cases as expected"
        + (f"; the second time: {late}" if late else ""),
        "dynalite, expressions": tests,
    }
    print(*(f"{what:40}{result}" for what, result in rows.items()), sep="\n")


if __name__ == "__main__":
    main()
