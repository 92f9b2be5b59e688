import pytest
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from botocore.stub import Stubber

from remove_background.api_key import ApiKey
from remove_background.aws import Clients
from remove_background.errors import ApiKeyMissing, StorageUnavailable


@pytest.fixture
def api_key(clients: Clients) -> ApiKey:
    return ApiKey(SecretsProvider(boto3_client=clients.secrets), "pixelcut")


def test_the_key_is_kept_until_a_fresh_one_is_wanted(clients: Clients, api_key: ApiKey) -> None:
    clients.secrets.create_secret(Name="pixelcut", SecretString="sk-old\n")
    assert api_key(False) == "sk-old"
    clients.secrets.put_secret_value(SecretId="pixelcut", SecretString="sk-new")
    assert api_key(False) == "sk-old"
    assert api_key(True) == "sk-new"
    assert api_key(False) == "sk-new"


def test_a_secret_without_a_value_blocks_the_account(clients: Clients, api_key: ApiKey) -> None:
    clients.secrets.create_secret(Name="pixelcut")
    with pytest.raises(ApiKeyMissing, match="pixelcut has no value"):
        api_key(False)


def test_a_secret_that_does_not_exist_blocks_the_account(api_key: ApiKey) -> None:
    with pytest.raises(ApiKeyMissing):
        api_key(False)


@pytest.mark.parametrize("value", [" ", '{"api_key": "sk-5ec4e7"}', "two words", "sk-5ec4e7\nsk-5ec4e7", "clé"])
def test_a_value_that_cannot_be_a_key_blocks_the_account(clients: Clients, api_key: ApiKey, value: str) -> None:
    clients.secrets.create_secret(Name="pixelcut", SecretString=value)
    with pytest.raises(ApiKeyMissing, match="as plain text") as caught:
        api_key(False)
    assert "5ec4e7" not in str(caught.value)


def test_a_binary_secret_is_not_a_key(clients: Clients, api_key: ApiKey) -> None:
    clients.secrets.create_secret(Name="pixelcut", SecretBinary=b"sk-5ec4e7")
    with pytest.raises(ApiKeyMissing):
        api_key(False)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "InternalServiceError"])
def test_any_other_error_of_secrets_manager_is_unavailable(clients: Clients, api_key: ApiKey, code: str) -> None:
    with Stubber(clients.secrets) as stub:
        stub.add_client_error("get_secret_value", code, http_status_code=400)
        with pytest.raises(StorageUnavailable, match=code):
            api_key(False)
