"""Evaluation of IAM policies, as far as the template uses them: statements, wildcards, a few conditions.

As documented ("Policy evaluation logic", one account): a matching Deny wins; otherwise an Allow is needed, in the role
or in the bucket policy. Unsupported condition types are an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

BUCKET = "arn:aws:s3:::bucket"


@dataclass(frozen=True)
class PolicyRequest:
    """`role`: its name in the template, or "". `context`: condition keys of the request."""

    action: str
    resource: str
    role: str = ""
    service: str = ""
    context: Mapping[str, str] = field(default_factory=dict)


class Policies:
    def __init__(self, resources: Mapping[str, Any]) -> None:
        self.resources = resources
        self.bucket = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]

    def allows(self, request: PolicyRequest) -> bool:
        own = (
            [statement for statement in self.of_role(request.role) if _fits(statement, request)] if request.role else []
        )
        bucket = [statement for statement in self.bucket if _is_meant(statement, request) and _fits(statement, request)]
        effects = {statement["Effect"] for statement in (*own, *bucket)}
        return "Allow" in effects and "Deny" not in effects

    def of_role(self, role: str) -> list[dict[str, Any]]:
        its = self.resources[role]["Properties"]
        documents = [policy["PolicyDocument"] for policy in its.get("Policies", [])]
        for name, it in self.resources.items():
            if it["Type"] == "AWS::IAM::ManagedPolicy" and name.lower() in its.get("ManagedPolicyArns", []):
                documents.append(it["Properties"]["PolicyDocument"])
        return [statement for document in documents for statement in document["Statement"]]


def _is_meant(statement: Mapping[str, Any], request: PolicyRequest) -> bool:
    principal = statement["Principal"]
    return principal == "*" or (bool(request.service) and principal == {"Service": request.service})


def _fits(statement: Mapping[str, Any], request: PolicyRequest) -> bool:
    return (
        _any_matches(statement["Action"], request.action)
        and _any_matches(statement["Resource"], request.resource)
        and all(_holds(kind, tests, request.context) for kind, tests in statement.get("Condition", {}).items())
    )


def _any_matches(patterns: str | Iterable[str], text: str) -> bool:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) for pattern in patterns)


def _holds(kind: str, tests: Mapping[str, str], context: Mapping[str, str]) -> bool:
    known = {name.lower(): value for name, value in context.items()}
    return all(_compared(kind, str(expected), known.get(name.lower())) for name, expected in tests.items())


def _compared(kind: str, expected: str, actual: str | None) -> bool:
    if kind == "StringNotEquals":
        return actual != expected  # also if the request lacks the key
    if actual is None:
        return False
    if kind == "NumericGreaterThan":
        return float(actual) > float(expected)
    if kind in {"StringEquals", "Bool", "ArnEquals"}:
        return actual == expected
    raise ValueError(kind)  # unsupported condition type
