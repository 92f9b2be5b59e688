"""The naive handler to compare with: one image per invocation, as a sample would do it."""

import json
import os
from typing import Any
from urllib.parse import unquote_plus

import boto3
import requests


def lambda_handler(event: dict[str, Any], context: object) -> None:  # noqa: ARG001 what Lambda calls it with
    s3 = boto3.client("s3")
    secrets = boto3.client("secretsmanager")
    api_key = secrets.get_secret_value(SecretId=os.environ["PIXELCUT_API_KEY_SECRET"])["SecretString"]
    for message in event["Records"]:
        for record in json.loads(message["body"])["Records"]:
            bucket = record["s3"]["bucket"]["name"]
            key = unquote_plus(record["s3"]["object"]["key"])
            image = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            response = requests.post(
                f"{os.environ['PIXELCUT_API_URL']}/v1/remove-background",
                headers={"X-API-KEY": api_key, "Accept": "application/json"},
                files={"image": (os.path.basename(key), image)},  # noqa: PTH119 a key is not a path
                timeout=60,
            )
            response.raise_for_status()
            result = requests.get(response.json()["result_url"], timeout=60)
            result.raise_for_status()
            s3.put_object(
                Bucket=os.environ["OUTPUT_BUCKET"],
                Key=os.path.splitext(key)[0] + ".png",  # noqa: PTH122 a key is not a path
                Body=result.content,
                ContentType="image/png",
            )
            print(f"Removed the background of s3://{bucket}/{key}")
