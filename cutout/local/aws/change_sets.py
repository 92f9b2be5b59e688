"""What moto 5.2.5's CloudFormation lacks for `sam deploy`: the SAM transform, and change sets that make whole stacks.

A test in tests/unit/cutout/local/moto_without_patches/ fails when a newer moto has it.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from moto.cloudformation import models
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend
from samtranslator.yaml_helper import yaml_parse

from cutout.local.aws.deploy import DeployError, expand

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON
IN_REVIEW = "REVIEW_IN_PROGRESS"  # the status of a stack whose first change set was not executed
SAM_TRANSFORM = "AWS::Serverless-2016-10-31"


class Stack(models.Stack):
    """Its `template` is the client's text, its `template_dict` is expanded, its `parameters` are complete.

    moto does not expand transforms, and counts a parameter that is set to its default as a change.

    The class keeps its name: by it, moto finds which attribute answers which field.
    """

    def __init__(self, *, template: Untyped, parameters: Mapping[str, Untyped], **rest: Untyped) -> None:
        # moto reads the template before it keeps these two.
        self.region_name = rest["region_name"]
        self.parameters = _complete(template, parameters)
        super().__init__(template=template, parameters=self.parameters, **rest)

    def _parse_template(self) -> None:
        self.template_dict = _expanded(self.template, self.parameters, self.region_name)

    def update(self, template: str, role_arn: Untyped = None, parameters: Untyped = None, tags: Untyped = None) -> None:
        self.parameters = _complete(template, {**self.parameters, **(parameters or {})})
        super().update(template, role_arn, self.parameters, tags)

    def has_template(self, other_template: str) -> bool:
        return bool(self.template == other_template)

    def has_parameters(self, other_parameters: Mapping[str, Untyped]) -> bool:
        return bool(self.parameters == _complete(self.template, other_parameters))


class ChangeSet(models.ChangeSet):
    def _parse_template(self) -> None:
        self.parameters = _complete(self.template, self.parameters)
        self.template_dict = _expanded(self.template, self.parameters, self.stack.region_name)

    def diff(self) -> list[models.Change]:
        """Includes resources that only refer to a changed parameter; moto leaves those out."""
        old, new = self.stack.template_dict.get("Resources", {}), self.template_dict["Resources"]
        names = self.stack.resource_map.build_resource_diff(self.template_dict, self.parameters)
        return [
            models.Change(action, name, (new.get(name) or old[name])["Type"])
            for action, changed in names.items()
            for name in changed
        ]

    def apply(self) -> None:
        """Changes the stack's resources and everything that describes it; moto changes only the resources."""
        super().apply()
        self.stack.template_dict = self.template_dict
        self.stack.description = self.template_dict.get("Description")
        self.stack.parameters = self.parameters
        self.stack.tags = self.tags or {}
        self.stack.output_map = self.stack._create_output_map()  # noqa: SLF001 as moto's own update does


def _complete(template: Untyped, given: Mapping[str, Untyped]) -> dict[str, str]:
    """The parameters as CloudFormation keeps them: text, with the defaults of those that are not given."""
    declared = yaml_parse(template).get("Parameters", {}) if template else {}  # a stack in review has no template
    defaults = {name: about["Default"] for name, about in declared.items() if "Default" in about}
    values = {**defaults, **given}
    return {name: _text(values[name]) for name in declared if name in values}


def _text(value: Untyped) -> str:
    """Accepts a number, a boolean or a list, as moto passes them."""
    if isinstance(value, list):
        return ",".join(_text(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value)


def _expanded(template: Untyped, parameters: Mapping[str, str], region: str) -> Untyped:
    body = yaml_parse(template)
    if SAM_TRANSFORM in body.get("Transform", ""):
        try:
            body = expand(body, parameters, region)
        except DeployError as error:
            raise ValidationError(message=f"Transform {SAM_TRANSFORM} failed with: {error}") from error
    for resource in body.get("Resources", {}).values():
        resource.setdefault("Properties", {})  # as moto does at creation: it would count them as a change later
    return body


def forget_what_is_in_review(original: Untyped) -> Untyped:
    """A stack that exists only as a change set is not in the way of another; moto would keep two of one name.

    A stack that was created is in the way; moto would create another one of the same name.
    """

    def create_change_set(
        backend: CloudFormationBackend, *, stack_name: str, change_set_type: str, **rest: Untyped
    ) -> Untyped:
        if change_set_type == "CREATE":
            for stack in [stack for stack in backend.stacks.values() if stack.name == stack_name]:
                if stack.status != IN_REVIEW:
                    raise ValidationError(message=f"Stack [{stack_name}] already exists and cannot be created again")
                del backend.stacks[stack.stack_id]
        return original(backend, stack_name=stack_name, change_set_type=change_set_type, **rest)

    return create_change_set


def forget_what_failed(original: Untyped) -> Untyped:
    """Reports any error as CloudFormation does, with the reason, and removes a stack that could not be created.

    moto would report the error of the resource's service, and keep the stack in review.
    """

    def execute_change_set(backend: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
        change_set: Untyped = backend.describe_change_set(change_set_name)
        try:
            original(backend, change_set_name, stack_name)
        except Exception as error:
            if change_set.change_set_type == "CREATE":
                del backend.stacks[change_set.stack_id]
            raise ValidationError(message=f"{type(error).__name__}: {error}") from error

    return execute_change_set
