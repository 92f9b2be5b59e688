"""The stack on the local cloud, with the stand-in or another API behind it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cutout.local.cloud import LocalCloud
from cutout.local.pixelcut import API_KEY, StandIn

_STACK = "cutout"


@dataclass(frozen=True)
class LocalStack:
    cloud: LocalCloud
    pixelcut_url: str
    outputs: dict[str, str]
    function_log: Path


@contextmanager
def local_stack(
    template: Path, log_dir: Path, *, port: int = 0, api: tuple[str, str] | None = None
) -> Iterator[LocalStack]:
    """Deploys the template and fills in the API key; all of it is gone at the end of the block.

    `api` is the base URL and the key of another API than the stand-in. It gets the images by upload, as it may be
    unable to reach a bucket on this machine. Raises OSError when the port is taken.
    """
    with ExitStack() as running:
        cloud = running.enter_context(LocalCloud(port=port, log_dir=log_dir))
        if api:
            pixelcut_url, key = api
            parameters = {"PixelcutApiUrl": pixelcut_url, "ImageDelivery": "upload"}
        else:
            pixelcut_url, key = running.enter_context(StandIn()).url, API_KEY
            parameters = {"PixelcutApiUrl": pixelcut_url}
        outputs = cloud.deploy(template, stack_name=_STACK, parameters=parameters)
        secret = cloud.client("cloudformation").describe_stack_resource(
            StackName=_STACK, LogicalResourceId="ApiKeySecret"
        )["StackResourceDetail"]["PhysicalResourceId"]
        cloud.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=key)
        yield LocalStack(cloud, pixelcut_url, outputs, log_dir / f"{outputs['FunctionName']}.log")
