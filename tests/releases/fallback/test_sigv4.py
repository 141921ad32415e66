"""AWS's published examples: the suite aws-sig-v4-test-suite and the IAM User Guide; and comparison with botocore."""

from __future__ import annotations

import datetime as dt

import pytest
from yarl import URL

from serve.releases.fallback.external_services import Credentials, signed

EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
NOW = dt.datetime(2015, 8, 30, 12, 36, tzinfo=dt.UTC)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HOST = "https://example.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "service", "signature"),
    [
        ("GET", f"{HOST}/", {}, b"", "service", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", f"{HOST}/", {}, b"", "service", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST", f"{HOST}/", FORM, b"Param1=value1", "service",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "GET", f"{HOST}/?Param2=value2&Param1=value1", {}, b"", "service",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
            {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, b"", "iam",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ],
)  # fmt: skip
def test_published_examples(
    method: str, url: str, headers: dict[str, str], body: bytes, service: str, signature: str
) -> None:
    found = signed(method, URL(url, encoded=True), headers, body, EXAMPLE, ("us-east-1", service), NOW)
    assert found["Authorization"].endswith(f"Signature={signature}")
    assert found["X-Amz-Date"] == "20150830T123600Z"


@pytest.mark.parametrize("session", [None, "a/session+token=="])
def test_colon_in_model_name_is_signed_as_by_botocore(session: str | None) -> None:
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as Theirs

    url = "https://bedrock-runtime.us-west-2.amazonaws.com/model/amazon.titan-image-generator-v2%3A0/invoke"
    body, now = b'{"taskType": "TEXT_IMAGE"}', dt.datetime.now(dt.UTC)
    mine = Credentials(EXAMPLE.access_key_id, EXAMPLE.secret_access_key, session)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    found = signed("POST", URL(url, encoded=True), headers, body, mine, ("us-west-2", "bedrock"), now)
    request = AWSRequest("POST", url, headers=headers, data=body)
    signer = auth.SigV4Auth(Theirs(mine.access_key_id, mine.secret_access_key, session), "bedrock", "us-west-2")
    request.context["timestamp"] = found["X-Amz-Date"]
    signer._modify_request_before_signing(request)
    request.headers.replace_header("X-Amz-Date", found["X-Amz-Date"])
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert found["Authorization"].endswith(f"Signature={signature}")


def test_credentials_are_not_shown() -> None:
    assert "wJalr" not in repr(EXAMPLE)
    assert "wJalr" not in str(EXAMPLE)
