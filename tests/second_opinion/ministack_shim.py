"""ministack 1.5.33, with what our template needs and it lacks: `.venv-second/bin/python ministack_shim.py FD [URL]`.

FD is a socket that is bound to a port of 127.0.0.1. URL is where functions are invoked (see cloud.py); without it,
ministack runs them itself.
docs/local-cloud.md lists each difference from AWS.
"""

import asyncio
import copy
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import hypercorn.asyncio
from hypercorn.config import Config
from ministack import app
from ministack.core import iam_actions
from ministack.core.iam_evaluator import EvalContext
from ministack.services import lambda_svc, s3
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

Json: TypeAlias = Any

ENVIRONMENT = "environment-"  # how the access keys of execution environments begin; each is its own secret
COMPUTED = ("Fn::Split", "Fn::Sub")
MODULES = (changesets, engine, handlers, provisioners, stacks)


def replace(name: str, make: Callable[[Any], Any]) -> None:
    """In every module that has it: they import names, not modules."""
    holders = [module for module in MODULES if hasattr(module, name)]
    (original,) = {getattr(module, name) for module in holders}
    for module in holders:
        setattr(module, name, make(original))


def computed(value: Json, parameters: Json) -> Json:
    """`value` with the functions of COMPUTED evaluated, which ministack does in resources and not in conditions."""
    if isinstance(value, list):
        return [computed(item, parameters) for item in value]
    if not isinstance(value, dict):
        return value
    if any(name in value for name in COMPUTED):
        return engine._resolve_refs(value, {}, parameters, {}, {}, "", "")
    return {name: computed(item, parameters) for name, item in value.items()}


def evaluating_conditions(original: Any) -> Any:  # noqa: ANN401
    def evaluate(template: Json, parameters: Json) -> Json:
        conditions = computed(template.get("Conditions", {}), parameters)
        return original(template | {"Conditions": conditions}, parameters)

    return evaluate


def text(value: Json) -> str:
    """As CloudFormation converts what has to be a string."""
    return value if isinstance(value, str) else json.dumps(value)


def converted(properties: Json) -> Json:
    """CloudFormation converts values to the types of the properties; ministack passes them on."""
    properties = copy.deepcopy(properties)
    variables = properties.get("Environment", {}).get("Variables", {})
    variables.update({name: text(value) for name, value in variables.items()})
    if scaling := properties.get("ScalingConfig"):
        scaling["MaximumConcurrency"] = int(scaling["MaximumConcurrency"])
    return properties


def creating(original: Any) -> Any:  # noqa: ANN401
    return lambda logical_id, properties, stack: original(logical_id, converted(properties), stack)


def updating(original: Any) -> Any:  # noqa: ANN401
    return lambda resource, old, new, *stack: original(resource, converted(old), converted(new), *stack)


def creating_secret(original: Any) -> Any:  # noqa: ANN401
    """Ref returns the ARN of a secret; ministack's returns the name."""

    def create(*of_resource: Any) -> Json:  # noqa: ANN401
        _, attributes = original(*of_resource)
        return attributes["Arn"], attributes

    return create


def naming_action(original: Any) -> Any:  # noqa: ANN401
    """ministack takes a call about one event source mapping for one about all of them."""
    of_one = {"GET": "GetEventSourceMapping", "PUT": "UpdateEventSourceMapping"}

    def name(method: str, path: str) -> Any:  # noqa: ANN401
        *_, parent, _ = ["", *path.strip("/").split("/")]
        return of_one[method] if parent == "event-source-mappings" else original(method, path)

    return name


def securing_transport(original: Any) -> Any:  # noqa: ANN401
    """Here all is HTTP; on AWS all is HTTPS, and the policies of our queues and buckets deny the rest."""

    def init(context: EvalContext, *values: Any, **named: Any) -> None:  # noqa: ANN401
        original(context, *values, **(named | {"secure_transport": True}))

    return init


def resolving_credentials(original: Any) -> Any:  # noqa: ANN401
    """S3 verifies presigned URLs: the execution environments are not ministack's, and so are their keys."""

    def resolve(key: str, *of_account: Any) -> Any:  # noqa: ANN401
        return SimpleNamespace(secret_access_key=key) if key.startswith(ENVIRONMENT) else original(key, *of_account)

    return resolve


def main(fd: str, invoke_url: str | None = None) -> None:
    replace("_evaluate_conditions", evaluating_conditions)
    for kind in ("AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping"):
        handler = provisioners._RESOURCE_HANDLERS[kind]
        handler["create"], handler["update"] = creating(handler["create"]), updating(handler["update"])
    secret = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    secret["create"] = creating_secret(secret["create"])
    iam_actions._lambda_action = naming_action(iam_actions._lambda_action)
    EvalContext.__init__ = securing_transport(EvalContext.__init__)
    s3.resolve_credential = resolving_credentials(s3.resolve_credential)
    if invoke_url:
        lambda_svc._proxy_url_for = lambda _config: invoke_url
    config = Config()
    config.bind = [f"fd://{fd}"]
    config.loglevel = "WARNING"
    asyncio.run(hypercorn.asyncio.serve(app.app, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
