"""Resources of a template that moto_resources.py adds."""

import pytest
from moto.core.common_models import CloudFormationModel


@pytest.mark.parametrize(
    "kind",
    [
        "AWS::CloudWatch::Alarm",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SQS::QueuePolicy",
        "AWS::SecretsManager::Secret",
    ],
)
def test_cloudformation_lacks_a_kind_of_resource(kind: str) -> None:
    known = {
        model.cloudformation_type()
        for model in CloudFormationModel.__subclasses__()
        if model.__module__.startswith("moto.")  # ours are subclasses as well, once something has imported them
    }
    assert "AWS::SQS::Queue" in known
    assert kind not in known, "moto_resources"
