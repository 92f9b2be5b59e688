import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cutout.local.aws.server import read_code


def test_the_code_of_a_deleted_function_is_not_found_as_by_a_client() -> None:
    """So a poller that is about to invoke it ends as if its mapping were gone."""
    with mock_aws(), pytest.raises(ClientError, match="ResourceNotFoundException"):
        read_code("arn:aws:lambda:us-east-1:123456789012:function:deleted")
