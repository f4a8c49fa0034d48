"""A moto server as AWS, with the resources of the template that moto supports.

moto ignores most bucket settings in CloudFormation, so API calls here set them. It checks no signatures and ignores
the conditions of a bucket policy, so objects cannot be read.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from amalga.local.processes import Daemon, free_port
from tests.support.aws_template import REGION, Template, plain

MOTO = Path(__file__).resolve().parents[2] / ".venv-deploy" / "bin" / "moto_server"
START_SECONDS = 60
DOMAIN = "files.example.org"
ALIKE = ("AWS::EC2::", "AWS::ECS::", "AWS::IAM::", "AWS::ElasticLoadBalancingV2::", "AWS::Logs::", "AWS::Events::")
KNOWN = {"AWS::S3::Bucket", "AWS::SNS::Topic", "AWS::RDS::DBSubnetGroup"}
UNKNOWN = {"AWS::EC2::SecurityGroupEgress", "AWS::IAM::OIDCProvider"}


class Account:
    """An account at moto with our stack."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        acm = self.client("acm")
        certificate = acm.request_certificate(DomainName=DOMAIN)["CertificateArn"]
        self.parameters = {"Domain": DOMAIN, "CertificateArn": certificate, "Image": "image", "ContentKey1": "PEM"}
        self._make_stack()
        self.bucket: str = self.id_of("Bucket")
        set_bucket_up(self.client("s3"), self.bucket, endpoint=self.id_of("StoreEndpoint"), **self.parameters)

    def client(self, name: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(name, endpoint_url=self.endpoint, region_name=REGION, **keys)  # type: ignore[call-overload]

    def id_of(self, name: str) -> str:
        description = self.client("cloudformation").describe_stack_resource(StackName="amalga", LogicalResourceId=name)
        return str(description["StackResourceDetail"]["PhysicalResourceId"])

    def _make_stack(self) -> None:
        whole = Template().resolved(**self.parameters)
        names = {name for name, it in whole.items() if _is_known(it["Type"])}

        def resolve(name: str, attribute: str) -> Any:
            if name not in names:
                return plain(name, attribute)
            return {"Fn::GetAtt": [name, attribute]} if attribute else {"Ref": name}

        resources = Template().resolved(resolve, **self.parameters)
        body = {"Resources": {name: {**resources[name], "DependsOn": []} for name in names}}
        self.client("cloudformation").create_stack(
            StackName="amalga", TemplateBody=json.dumps(body), Capabilities=["CAPABILITY_IAM"]
        )


def set_bucket_up(s3: Any, bucket: str, *, endpoint: str = "vpce-1", **parameters: str) -> None:
    """Apply the template's bucket settings through the API."""
    known = {("Bucket", ""): bucket, ("StoreEndpoint", ""): endpoint}
    resources = Template().resolved(lambda *key: known.get(key, plain(*key)), **parameters)
    its = resources["Bucket"]["Properties"]
    calls = {
        "public_access_block": {"PublicAccessBlockConfiguration": its["PublicAccessBlockConfiguration"]},
        "bucket_ownership_controls": {"OwnershipControls": its["OwnershipControls"]},
        "bucket_encryption": {"ServerSideEncryptionConfiguration": _encryption(its)},
        "bucket_versioning": {"VersioningConfiguration": its["VersioningConfiguration"]},
        "bucket_lifecycle_configuration": {"LifecycleConfiguration": _lifecycle(its)},
        "bucket_cors": {"CORSConfiguration": _cors(its)},
        "bucket_policy": {"Policy": json.dumps(resources["BucketPolicy"]["Properties"]["PolicyDocument"])},
    }
    for call, arguments in calls.items():
        getattr(s3, f"put_{call}")(Bucket=bucket, **arguments)


def _is_known(kind: str) -> bool:
    return kind in KNOWN or (kind.startswith(ALIKE) and kind not in UNKNOWN)


def _encryption(its: dict[str, Any]) -> dict[str, Any]:
    rules = its["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]} for rule in rules]}


def _lifecycle(its: dict[str, Any]) -> dict[str, Any]:
    """Return the rules in the form of the API: prefix in a filter, delete marker in the expiration."""
    rules = [dict(rule) for rule in its["LifecycleConfiguration"]["Rules"]]
    for rule in rules:
        rule["ID"], rule["Filter"] = rule.pop("Id"), {"Prefix": rule.pop("Prefix")}
        rule["Expiration"] = {"ExpiredObjectDeleteMarker": rule.pop("ExpiredObjectDeleteMarker")}
    return {"Rules": rules}


def _cors(its: dict[str, Any]) -> dict[str, Any]:
    names = {"Id": "ID", "ExposedHeaders": "ExposeHeaders", "MaxAge": "MaxAgeSeconds"}
    rules = its["CorsConfiguration"]["CorsRules"]
    return {"CORSRules": [{names.get(name, name): value for name, value in rule.items()} for rule in rules]}


@contextmanager
def account(folder: Path) -> Iterator[Account]:
    """Run a moto server with the stack."""
    if not MOTO.exists():
        raise RuntimeError("moto is not installed: make deploy-tools")
    port = free_port()
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    daemon = Daemon("moto", folder, mark="moto_server", stop_signal=signal.SIGTERM)
    daemon.start([str(MOTO), "-H", "127.0.0.1", "-p", str(port)], env=env)
    try:
        _wait(f"http://127.0.0.1:{port}", daemon)
        yield Account(f"http://127.0.0.1:{port}")
    finally:
        daemon.stop()


def _wait(endpoint: str, daemon: Daemon) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=5).close()
            return
        except OSError:
            if daemon.exit_code() is not None or time.monotonic() > end:
                raise RuntimeError(f"moto is not up: {daemon.log_tail()}") from None
            time.sleep(0.1)
