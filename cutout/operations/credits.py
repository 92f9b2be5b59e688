"""The credits left at Pixelcut, read with the deployed stack's key."""

import contextlib

from botocore.exceptions import BotoCoreError, ClientError

from cutout.failures import describe
from cutout.operations.deployment import Deployment
from remove_background.api_key_value import check
from remove_background.aws_errors import error_code
from remove_background.errors import CutoutError


def read(deployed: Deployment) -> float | str:
    """The credits, or a sentence that says why they are unknown: nothing else depends on them."""
    # They load an HTTP client, which --help can do without.
    import requests  # noqa: PLC0415

    from remove_background.pixelcut import Pixelcut  # noqa: PLC0415

    try:
        secret = deployed.settings["PIXELCUT_API_KEY_SECRET"]
        value = deployed.secrets.get_secret_value(SecretId=secret).get("SecretString")
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and error_code(error) == "ResourceNotFoundException":
            return "The stack's secret has no value. Put the Pixelcut API key into it."
        return describe(error)
    with requests.Session() as session:
        pixelcut = Pixelcut(
            session,
            deployed.settings["PIXELCUT_API_URL"],
            lambda _: check(value, secret),
            lambda _: contextlib.nullcontext(),
        )
        try:
            left = pixelcut.read_credits()
        except CutoutError as error:
            return error.message
    return "Pixelcut does not say." if left is None else left
