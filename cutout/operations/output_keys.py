"""How the deployed stack names its cutouts."""

from cutout.failures import Failure
from cutout.operations.deployment import Deployment
from remove_background.output_key import OutputKey


def output_key(deployed: Deployment) -> OutputKey:
    """Raises Failure for settings that the function refuses: nothing should be sent to it then."""
    settings = deployed.settings
    pattern = OutputKey(settings["OUTPUT_KEY"])
    if deployed.input_bucket == deployed.output_bucket and not pattern.keeps_clear_of(settings["INPUT_PREFIX"]):
        raise Failure(
            f"The function refuses to work: uploads and cutouts share the bucket {deployed.input_bucket}, and as the "
            f"OutputKey {settings['OUTPUT_KEY']} may begin with the InputPrefix {settings['INPUT_PREFIX']}, each "
            "cutout would be taken for an upload. Deploy the stack with an InputPrefix and an OutputKey that keep them "
            "apart, as uploads/ and cutouts/{name}.png do."
        )
    return pattern
