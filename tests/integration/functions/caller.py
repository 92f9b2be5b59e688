"""A function that makes the call to AWS that its event names, and prints every event that it is given."""

import json
import os
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:
    print(json.dumps(event))
    if "call" not in event:  # it comes from a schedule or a queue
        return {}
    config = Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": event["attempts"]})
    make: Any = boto3.client
    client = make(event["service"], config=config)
    outcome: dict[str, Any] = {"pid": os.getpid(), "answer": None, "error": None}
    try:
        answer = getattr(client, event["call"])(**event["arguments"])
    except ClientError as error:
        outcome["error"] = error.response["Error"]["Code"]
        outcome["item"] = error.response.get("Item")
    except BotoCoreError as error:
        outcome["error"] = type(error).__name__
    else:
        outcome["answer"] = answer if isinstance(answer, str) else sorted(answer)
    return outcome
