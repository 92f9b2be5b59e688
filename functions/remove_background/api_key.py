"""The Pixelcut API key, from Secrets Manager."""

import threading

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from .api_key_value import check
from .aws_errors import error_code
from .errors import ApiKeyMissing, StorageUnavailable

# A key that was replaced is noticed by the 401 that the old one gets; this bounds how long a revoked one is kept.
MAX_AGE_SECONDS = 300

_NO_VALUE = ("ResourceNotFoundException", "InvalidRequestException")


class ApiKey:
    def __init__(self, secrets: SecretsProvider, secret: str) -> None:
        """`secret` is the name or the ARN of a secret that holds the key as plain text."""
        self._secrets = secrets
        self._secret = secret
        self._lock = threading.Lock()  # at a start, all threads want it

    def __call__(self, fresh: bool) -> str:
        """The key, read again when `fresh`. Raises ApiKeyMissing or StorageUnavailable."""
        try:
            with self._lock:
                value = self._secrets.get(self._secret, max_age=MAX_AGE_SECONDS, force_fetch=fresh)
        except GetParameterError as error:
            code = error_code(error.__context__)
            if code in _NO_VALUE:
                raise ApiKeyMissing(
                    f"The secret {self._secret} has no value. Put the Pixelcut API key into it."
                ) from None
            raise StorageUnavailable(f"Secrets Manager did not give the API key ({code}).") from None
        try:
            return check(value, self._secret)
        except ApiKeyMissing:
            if fresh:
                raise
        return self(True)  # it may have been put right since it was read
