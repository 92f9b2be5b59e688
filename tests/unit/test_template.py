"""The function accepts everything that the template allows."""

import json
import re
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samtranslator.yaml_helper import yaml_parse

from remove_background.caps import DAY, MONTH, Caps
from remove_background.config import Config, ReopenConfig, read_caps
from remove_background.handler import THREADS
from remove_background.intake import SWITCHING_SECONDS
from remove_background.output_key import OutputKey
from reopen_intake.handler import CAP_METRICS, MOST_WAIT_SECONDS, SETTLE_SECONDS

ROOT = Path(__file__).parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
RESOURCES = TEMPLATE["Resources"]
FUNCTION = RESOURCES["RemoveBackground"]["Properties"]
REOPENING = RESOURCES["ReopenIntake"]["Properties"]
VARIABLES = FUNCTION["Environment"]["Variables"]
ALLOWED = re.compile(TEMPLATE["Parameters"]["OutputKey"]["AllowedPattern"])


@given(pattern=st.from_regex(ALLOWED, fullmatch=True))
def test_every_output_key_that_can_be_deployed_works(pattern: str) -> None:
    assert OutputKey(pattern).of("photos/cat.jpg")


@pytest.mark.parametrize("pattern", ["", "cutout.png", "{ext}", "{stem", "{}", "{0}.png", "{stem!r}.png", "{bucket}"])
def test_a_bad_output_key_is_refused_at_deployment_and_at_start(pattern: str) -> None:
    assert not ALLOWED.fullmatch(pattern)
    with pytest.raises(ValueError, match="must hold"):
        OutputKey(pattern)


CAPS = {"DailyCredits": "100", "MonthlyCredits": "2000", "CapTimeZone": "Europe/Berlin"}


@pytest.mark.parametrize("caps", [{}, CAPS])
def test_the_functions_get_every_setting_that_they_read(caps: dict[str, str]) -> None:
    parameters = {name: str(parameter["Default"]) for name, parameter in TEMPLATE["Parameters"].items()} | caps

    def resolve(variables: dict[str, Any]) -> dict[str, str]:
        found = {name: value.get("Ref") if isinstance(value, dict) else None for name, value in variables.items()}
        return {name: parameters.get(found[name] or "", str(value)) for name, value in variables.items()}

    config = Config.from_environment(resolve(VARIABLES))
    reopening = ReopenConfig.from_environment(resolve(REOPENING["Environment"]["Variables"]))
    assert (config.max_attempts, reopening.reopen_seconds) == (5, 300)
    for read in (config.caps, reopening.caps):
        assert (read.daily, read.monthly, read.zone) == ((100, 2000, "Europe/Berlin") if caps else (None, None, "UTC"))


def test_numbers_that_depend_on_each_other_agree() -> None:
    queue, letters = RESOURCES["UploadQueue"]["Properties"], RESOURCES["DeadLetterQueue"]["Properties"]
    variables, source = FUNCTION["Environment"]["Variables"], FUNCTION["Events"]["Uploads"]["Properties"]
    assert queue["VisibilityTimeout"] == 6 * FUNCTION["Timeout"]
    # A throttled account uses receives up that never reach the function; SQS allows no more, and the function counts
    # attempts itself. All of them take less time than the queue keeps a message.
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 1000 > variables["MAX_ATTEMPTS"]
    assert 1000 * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"]
    assert queue["MessageRetentionPeriod"] < letters["MessageRetentionPeriod"]
    assert source["BatchSize"] == THREADS
    assert TEMPLATE["Parameters"]["PresignedUrlSeconds"]["MinValue"] > FUNCTION["Timeout"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_lambda_does_not_stop_our_deliberate_loop() -> None:
    assert FUNCTION["RecursiveLoop"] == "Allow"


BUCKETS = {name: resource for name, resource in RESOURCES.items() if resource["Type"] == "AWS::S3::Bucket"}
QUEUES = {name: resource for name, resource in RESOURCES.items() if resource["Type"] == "AWS::SQS::Queue"}


def statements_about(kind: str, field: str, name: str) -> list[dict[str, Any]]:
    """The statements of the one resource policy for this bucket or queue."""
    (policy,) = (
        resource["Properties"]
        for resource in RESOURCES.values()
        if resource["Type"] == kind and {"Ref": name} in (resource["Properties"][field], *resource["Properties"][field])
    )
    return [
        statement["Fn::If"][1] if "Fn::If" in statement else statement
        for statement in policy["PolicyDocument"]["Statement"]
    ]


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_private_and_outlives_its_stack(name: str) -> None:
    bucket, properties = BUCKETS[name], BUCKETS[name]["Properties"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]
    assert properties["VersioningConfiguration"]["Status"] == "Enabled"
    (rule,) = properties["LifecycleConfiguration"]["Rules"]
    assert {"NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"} <= set(rule)


@pytest.mark.parametrize(
    ("kind", "field", "name", "action"),
    [
        *(("AWS::S3::BucketPolicy", "Bucket", name, "s3:*") for name in BUCKETS),
        *(("AWS::SQS::QueuePolicy", "Queues", name, "sqs:*") for name in QUEUES),
    ],
)
def test_access_needs_tls_and_only_services_of_this_account_may_send(
    kind: str, field: str, name: str, action: str
) -> None:
    denied = [statement for statement in statements_about(kind, field, name) if statement["Effect"] == "Deny"]
    allowed = [statement for statement in statements_about(kind, field, name) if statement["Effect"] == "Allow"]
    ((condition, principal, what),) = ((each["Condition"], each["Principal"], each["Action"]) for each in denied)
    assert (condition, principal, what) == ({"Bool": {"aws:SecureTransport": "false"}}, "*", action)
    for statement in allowed:
        assert statement["Action"] == "sqs:SendMessage"
        (service,) = statement["Principal"].values()
        # A service acts on behalf of any caller; the source says of which one.
        assert "aws:SourceArn" in json.dumps(statement["Condition"])
        assert service == "events.amazonaws.com" or "aws:SourceAccount" in json.dumps(statement["Condition"])


def test_the_key_is_in_no_setting_and_no_resource() -> None:
    assert "SecretString" not in RESOURCES["ApiKeySecret"]["Properties"]
    assert not any("KEY" in name and "SECRET" not in name and name != "OUTPUT_KEY" for name in VARIABLES)


def test_logs_expire() -> None:
    groups = [resource for resource in RESOURCES.values() if resource["Type"] == "AWS::Logs::LogGroup"]
    functions = [resource for resource in RESOURCES.values() if resource["Type"] == "AWS::Serverless::Function"]
    assert len(groups) == len(functions)
    assert all(group["Properties"]["RetentionInDays"] for group in groups)
    assert all(function["Properties"]["LoggingConfig"] for function in functions)


def actions_of(role: str) -> set[str]:
    policies = [
        resource["Properties"]
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"]["Roles"]
    ]
    documents = [policy["PolicyDocument"] for policy in (*RESOURCES[role]["Properties"]["Policies"], *policies)]
    return {statement["Action"] for document in documents for statement in document["Statement"]}


def test_the_function_says_that_the_intake_is_paused_and_switches_nothing() -> None:
    actions = actions_of("RemoveBackgroundRole")
    assert {"dynamodb:UpdateItem", "dynamodb:GetItem", "sqs:SendMessage"} <= actions
    assert not any(action.startswith("lambda:") or "*" in action for action in actions)
    assert "sqs:ChangeMessageVisibility" not in actions


def test_reopen_intake_may_do_only_what_it_does() -> None:
    assert actions_of("ReopenIntakeRole") == {
        "logs:CreateLogStream", "logs:PutLogEvents", "lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping",
        "dynamodb:GetItem", "dynamodb:UpdateItem", "secretsmanager:GetSecretValue",
    }  # fmt: skip


def test_a_switch_of_the_mapping_fits_into_its_timeout_and_its_token_outlives_it() -> None:
    # It may settle twice, and reads the credits in between.
    assert 2 * SETTLE_SECONDS + 20 < REOPENING["Timeout"] < SWITCHING_SECONDS
    assert REOPENING["Events"]["Look"]["Properties"]["Schedule"] == "rate(5 minutes)"
    assert MOST_WAIT_SECONDS == 3600


def test_the_alarm_of_a_paused_intake_does_not_ring_without_data() -> None:
    alarm = RESOURCES["IntakePaused"]["Properties"]
    assert alarm["TreatMissingData"] == "ignore"  # at the first deployment none has come yet
    assert (alarm["Statistic"], alarm["Threshold"], alarm["ComparisonOperator"]) == (
        "Maximum", 0, "GreaterThanThreshold",
    )  # fmt: skip
    assert alarm["Period"] >= 300  # ReopenIntake writes it every five minutes
    fails = RESOURCES["ReopenIntakeErrors"]["Properties"]  # so that its silence is noticed
    assert (fails["MetricName"], fails["Dimensions"]) == (
        "Errors", [{"Name": "FunctionName", "Value": {"Ref": "ReopenIntake"}}],
    )  # fmt: skip


ALARMS = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::CloudWatch::Alarm"]


@pytest.mark.parametrize(("period", "parameter"), [("Daily", "DailyCredits"), ("Monthly", "MonthlyCredits")])
def test_the_alarms_of_a_cap_exist_where_it_is_set(period: str, parameter: str) -> None:
    condition = f"Has{period}Cap"
    assert TEMPLATE["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}
    alarms = {name: RESOURCES[name] for name in ALARMS if RESOURCES[name].get("Condition") == condition}
    assert {name: alarm["Properties"]["Threshold"] for name, alarm in alarms.items()} == {
        f"{period}CapNear": 80, f"{period}CapReached": 100,
    }  # fmt: skip
    for alarm in alarms.values():
        properties = alarm["Properties"]
        assert properties["MetricName"] == CAP_METRICS[DAY if period == "Daily" else MONTH]
        assert properties["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert (properties["TreatMissingData"], properties["Period"]) == ("ignore", 600)


@pytest.mark.parametrize("daily", ["", "10"])
@pytest.mark.parametrize("monthly", ["", "200"])
def test_the_dashboard_shows_the_caps_that_are_set(daily: str, monthly: str) -> None:
    text, parts = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    is_set = {"HasDailyCap": daily, "HasMonthlyCap": monthly}
    for name, part in parts.items():
        condition, yes, no = part["Fn::If"]
        text = text.replace(f"${{{name}}}", yes["Fn::Sub"] if is_set[condition] else no)
    first, *others = json.loads(text)["widgets"]
    shown = {alarm[2:-5] for alarm in first["properties"]["alarms"]}
    assert shown == {name for name in ALARMS if is_set.get(RESOURCES[name].get("Condition"), "always")}
    metrics = {metric[1] for widget in others for metric in widget["properties"].get("metrics", [])}
    of_caps = {"DailyCapUsed": daily, "MonthlyCapUsed": monthly}
    assert metrics & of_caps.keys() == {name for name, value in of_caps.items() if value}
    places = [(widget["x"], widget["y"]) for widget in (first, *others)]
    assert len(places) == len(set(places))


ZONES = re.compile(TEMPLATE["Parameters"]["CapTimeZone"]["AllowedPattern"])


def test_every_time_zone_can_be_deployed() -> None:
    assert all(ZONES.fullmatch(zone) and Caps(1, None, zone) for zone in available_timezones())


@pytest.mark.parametrize("zone", ["", "/etc/localtime", "../UTC", "Europe/", "Europe/Berlin ", "Europe/Berlin\n"])
def test_what_is_no_name_of_a_time_zone_is_refused_at_deployment(zone: str) -> None:
    assert not ZONES.fullmatch(zone)


@pytest.mark.parametrize("name", ["DailyCredits", "MonthlyCredits"])
def test_every_cap_that_can_be_deployed_is_read(name: str) -> None:
    pattern = TEMPLATE["Parameters"][name]["AllowedPattern"]
    variable = {"DailyCredits": "DAILY_CREDITS", "MonthlyCredits": "MONTHLY_CREDITS"}[name]
    for value in ("", "1", "999999999"):
        assert re.search(pattern, value)
        caps = read_caps({variable: value})
        assert (caps.daily if name == "DailyCredits" else caps.monthly) == (int(value) if value else None)
    for value in ("0", "01", "1000000000", "-1", "1.5", "ten", " "):
        assert not re.search(pattern, value)


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_is_sent_and_shown(name: str) -> None:
    assert RESOURCES[name]["Properties"]["AlarmActions"] == [{"Ref": "Alarms"}]
    assert f"${{{name}.Arn}}" in json.dumps(RESOURCES["Dashboard"])
