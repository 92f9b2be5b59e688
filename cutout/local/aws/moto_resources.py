"""Resources that moto 5.2.5's CloudFormation lacks. It finds them as the direct subclasses of its model.

A test in tests/unit/cutout/local/moto_without_patches/ fails when a newer moto has one.
"""

import json
from typing import Any, ClassVar, Self, TypeAlias

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

Json: TypeAlias = Any


class _Resource:
    """Created by `_make`, which returns its physical id; an update creates it again under the same name."""

    TYPE: ClassVar[str] = ""
    NAME: ClassVar[str] = ""  # the property that names it, where there is one

    def __init__(self, name: str, physical_resource_id: str) -> None:
        self.name = name
        self.physical_resource_id = physical_resource_id

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return cls.NAME

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.TYPE

    @classmethod
    def _make(cls, name: str, properties: Json, account_id: str, region_name: str) -> str:
        raise NotImplementedError

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Json
    ) -> Self:
        return cls(resource_name, cls._make(resource_name, cloudformation_json["Properties"], account_id, region_name))

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: "_Resource",
        new_resource_name: str,  # noqa: ARG003 moto's signature
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Self:
        return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)

    @classmethod
    def _delete(cls, name: str, account_id: str, region_name: str) -> None:
        """Nothing to do: it is deleted with the resource that it belongs to."""

    @classmethod
    def delete_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Json,  # noqa: ARG003 moto's signature
        account_id: str,
        region_name: str,
    ) -> None:
        cls._delete(resource_name, account_id, region_name)


class QueuePolicy(_Resource, CloudFormationModel):
    TYPE = "AWS::SQS::QueuePolicy"

    @classmethod
    def _make(cls, name: str, properties: Json, account_id: str, region_name: str) -> str:
        for url in properties["Queues"]:
            sqs_backends[account_id][region_name].set_queue_attributes(
                url.rsplit("/", 1)[1], {"Policy": json.dumps(properties["PolicyDocument"])}
            )
        return name


class BucketPolicy(_Resource, CloudFormationModel):
    """Without effect: moto would enforce the policy without its conditions, and so deny everything."""

    TYPE = "AWS::S3::BucketPolicy"

    @classmethod
    def _make(cls, name: str, properties: Json, account_id: str, region_name: str) -> str:  # noqa: ARG003
        return name


class Secret(_Resource, CloudFormationModel):
    TYPE = "AWS::SecretsManager::Secret"
    NAME = "Name"

    @classmethod
    def _make(cls, name: str, properties: Json, account_id: str, region_name: str) -> str:
        created = secretsmanager_backends[account_id][region_name].create_secret(
            name=name,
            secret_string=properties.get("SecretString"),
            secret_binary=None,
            description=properties.get("Description"),
            tags=None,
            kms_key_id=None,
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        arn: str = json.loads(created)["ARN"]
        return arn

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: "_Resource",
        new_resource_name: str,  # noqa: ARG003 moto's signature
        cloudformation_json: Json,  # noqa: ARG003
        account_id: str,  # noqa: ARG003
        region_name: str,  # noqa: ARG003
    ) -> Self:
        """Its value stays."""
        return cls(original_resource.name, original_resource.physical_resource_id)

    @classmethod
    def _delete(cls, name: str, account_id: str, region_name: str) -> None:
        secretsmanager_backends[account_id][region_name].delete_secret(name, None, True)


class Subscription(_Resource, CloudFormationModel):
    TYPE = "AWS::SNS::Subscription"

    @classmethod
    def _make(cls, name: str, properties: Json, account_id: str, region_name: str) -> str:  # noqa: ARG003
        made = sns_backends[account_id][region_name].subscribe(
            properties["TopicArn"], properties["Endpoint"], properties["Protocol"]
        )
        arn: str = made.arn
        return arn


class Alarm(_Resource, CloudFormationModel):
    TYPE = "AWS::CloudWatch::Alarm"
    NAME = "AlarmName"

    def __init__(self, name: str, physical_resource_id: str, arn: str = "") -> None:
        super().__init__(name, physical_resource_id)
        self._arn = arn

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Json
    ) -> Self:
        alarm = cloudformation_json["Properties"]
        made = cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=resource_name,
            namespace=alarm["Namespace"],
            metric_name=alarm["MetricName"],
            comparison_operator=alarm["ComparisonOperator"],
            evaluation_periods=int(alarm["EvaluationPeriods"]),
            period=int(alarm["Period"]),
            threshold=float(alarm["Threshold"]),
            statistic=alarm["Statistic"],
            description=alarm["AlarmDescription"],
            dimensions=alarm["Dimensions"],
            alarm_actions=alarm["AlarmActions"],
            treat_missing_data=alarm["TreatMissingData"],
        )
        return cls(resource_name, resource_name, made.alarm_arn)

    def get_cfn_attribute(self, attribute_name: str) -> str:
        if attribute_name != "Arn":
            raise AttributeError(attribute_name)
        return self._arn

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    @classmethod
    def _delete(cls, name: str, account_id: str, region_name: str) -> None:
        cloudwatch_backends[account_id][region_name].delete_alarms([name])
