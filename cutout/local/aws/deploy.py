"""Deploys a SAM template: packages its code, expands its transform, and leaves the rest to CloudFormation."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from samtranslator.metrics.metrics import DummyMetricsPublisher, Metrics
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse
from yaml import YAMLError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_s3 import S3Client

ARTEFACTS = "local-artefacts"  # the bucket that `sam deploy` names with --s3-bucket
UNCHANGING = (1980, 1, 1, 0, 0, 0)  # a fixed file time, so that an artefact's hash depends only on its content


class DeployError(Exception):
    """The template or its parameters are wrong; the text says how."""


def deploy(
    template: Path,
    stack_name: str,
    parameters: Mapping[str, str],
    session: boto3.Session,
    cloudformation: "CloudFormationClient",
    storage: "S3Client",
) -> dict[str, str]:
    """Creates or updates the stack, as `sam deploy` would. Returns its Outputs.

    A parameter that is not given keeps its value. Raises DeployError.
    """
    body = _read(template)
    _package(body, template.parent, storage)
    request: dict[str, Any] = {
        "StackName": stack_name,
        "TemplateBody": json.dumps(expand(body, parameters, session.region_name)),
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    change = cloudformation.update_stack if _exists(stack_name, cloudformation) else cloudformation.create_stack
    try:
        change(**request)
    except (ClientError, ResponseParserError) as error:  # moto passes on some errors of a resource's service
        raise DeployError(str(error)) from error
    stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _read(template: Path) -> dict[str, Any]:
    try:
        body = yaml_parse(template.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise DeployError(f"{template} is not YAML: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("Resources"), dict):
        raise DeployError(f"{template} is not a template: it has no Resources")
    return body


def _exists(stack_name: str, cloudformation: "CloudFormationClient") -> bool:
    try:
        cloudformation.describe_stacks(StackName=stack_name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return False
        raise
    return True


def expand(body: dict[str, Any], parameters: Mapping[str, str], region: str) -> Any:  # noqa: ANN401 JSON
    """Without its SAM transform. Changes `body`; raises DeployError."""
    metrics = Metrics("local", DummyMetricsPublisher())
    session = SimpleNamespace(region_name=region)  # all that the translator asks of it
    # The empty map is that of AWS's managed policies: the templates name none, so IAM need not be asked.
    try:
        expanded = Translator({}, Parser(), boto_session=session, metrics=metrics).translate(body, dict(parameters))
    except InvalidDocumentException as error:
        raise DeployError(f"{error}: {'; '.join(str(cause) for cause in error.causes)}") from error
    finally:
        metrics.publish()  # discards them: unpublished metrics cause a warning
    return json.loads(json.dumps(expanded))  # plain dictionaries instead of the translator's


def _package(body: dict[str, Any], folder: Path, storage: "S3Client") -> None:
    """Uploads each local CodeUri, as `sam package` does; one that is in S3 already stays."""
    storage.create_bucket(Bucket=ARTEFACTS)
    functions = [body.get("Globals", {}).get("Function", {})] + [
        resource.get("Properties", {})
        for resource in body["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    for properties in functions:
        code = properties.get("CodeUri")
        if isinstance(code, str) and not code.startswith("s3://"):
            artefact = _zip(folder / code)
            key = f"{hashlib.sha256(artefact).hexdigest()}.zip"
            storage.put_object(Bucket=ARTEFACTS, Key=key, Body=artefact)
            properties["CodeUri"] = f"s3://{ARTEFACTS}/{key}"


def _zip(folder: Path) -> bytes:
    """The same content gives the same artefact, so deploying it again keeps warm environments."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.writestr(zipfile.ZipInfo(str(file.relative_to(folder)), UNCHANGING), file.read_bytes())
    return content.getvalue()
