"""What S3 checks of a presigned URL and moto does not: its age, and that its signature is of this very request.

https://repost.aws/knowledge-center/s3-presigned-url-signature-mismatch
"""

import hmac
import time
from calendar import timegm
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

EXPIRED, FORGED = "AccessDenied", "SignatureDoesNotMatch"


def refusal(environ: dict[str, Any], secret: str) -> str | None:
    """S3's error code; None for a URL that is valid."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    signed_at = timegm(time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    if time.time() > signed_at + int(query["X-Amz-Expires"]):
        return EXPIRED
    return None if hmac.compare_digest(_signature(environ, query, secret), query["X-Amz-Signature"]) else FORGED


def _signature(environ: dict[str, Any], query: dict[str, str], secret: str) -> str:
    access_key, _, region, *_ = query["X-Amz-Credential"].split("/")
    path, _, raw = environ["REQUEST_URI"].partition("?")
    signed = "&".join(part for part in raw.split("&") if not part.startswith("X-Amz-Signature="))
    request = AWSRequest(
        environ["REQUEST_METHOD"], f"http://{environ['HTTP_HOST']}{path}?{signed}", {"host": environ["HTTP_HOST"]}
    )
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(Credentials(access_key, secret), "s3", region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    signature: str = auth.signature(text, request)
    return signature
