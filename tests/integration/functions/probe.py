"""A function that does what its messages tell it to, and prints what it was given."""

import json
import os
import time
from typing import Any


def handle(event: dict[str, Any], context: object) -> object:
    given = {"pid": os.getpid(), "file": __file__, "environ": dict(os.environ), "records": event["Records"]}
    print(json.dumps(given))
    answer = None
    for record in event["Records"]:
        match record["body"].split():
            case ["raise"]:
                raise RuntimeError("told to raise")
            case ["exit"]:
                os._exit(3)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["answer", text]:
                answer = text
    print(json.dumps({"done": os.getpid()}))
    if answer is not None:
        return json.loads(answer)
    failed = [record["messageId"] for record in event["Records"] if record["body"] == "fail"]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
