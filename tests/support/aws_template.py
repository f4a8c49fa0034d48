"""The template of deploy/aws as CloudFormation evaluates it: parameters, conditions and functions.

    template.resolved(Domain="files.example.org")   # the created resources by name

`resolve` returns values that only AWS knows, such as an ARN or an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).resolve().parents[2] / "deploy" / "aws" / "amalga.yaml"
REGION, ACCOUNT = "eu-central-1", "123456789012"
PSEUDO = {
    "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::StackName": "amalga",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/amalga/1", "AWS::URLSuffix": "amazonaws.com",
}  # fmt: skip
SECRETS = {"Settings", "MailSettings", "OwnerSecret", "ContentSecret1", "ContentSecret2", "CacheToken", "CacheUrl"}
PLACEHOLDER = re.compile(r"\$\{([^}]+)\}")
Resolve = Callable[[str, str], Any]  # (name of a resource, name of an attribute, "" for a Ref)


class _Nothing:
    """AWS::NoValue."""


NOTHING = _Nothing()


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms; on, off and dates stay strings."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    raise ValueError(f"{suffix} of a mapping")


_Loader.add_multi_constructor("!", _function)


def plain(name: str, attribute: str) -> str:
    """Return the tests' name of a resource, or an ARN where policies use one."""
    arns = {"Bucket": "arn:aws:s3:::bucket", "Registry": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/registry",
            "Logs": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:logs:*"}  # fmt: skip
    if attribute.endswith("Arn"):
        return arns.get(name) or f"arn:aws:iam::{ACCOUNT}:{attribute}/{name}"
    if name in SECRETS:
        return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}"
    return name.lower() if attribute in {"", "Name"} else f"{name.lower()}.{attribute}"


class Template:
    def __init__(self, path: Path = PATH) -> None:
        self.text = path.read_text()
        self.document: dict[str, Any] = yaml.load(self.text, _Loader)  # noqa: S506 - a SafeLoader

    def resolved(self, resolve: Resolve = plain, /, **parameters: str) -> dict[str, Any]:
        """Return the resources whose conditions are true. Raises KeyError for a parameter without a value."""
        run = _Run(self.document, parameters, resolve)
        resources = {name: it for name, it in self.document["Resources"].items() if run.holds(it.get("Condition"))}
        return {name: run.value({key: it[key] for key in it if key != "Condition"}) for name, it in resources.items()}

    def outputs(self, **parameters: str) -> dict[str, Any]:
        run = _Run(self.document, parameters, plain)
        outputs = self.document["Outputs"].items()
        return {name: run.value(it["Value"]) for name, it in outputs if run.holds(it.get("Condition"))}


class _Run:
    def __init__(self, document: Mapping[str, Any], parameters: Mapping[str, str], resolve: Resolve) -> None:
        self.conditions, self.mappings, self.resolve = document["Conditions"], document["Mappings"], resolve
        self.known: dict[str, Any] = {**PSEUDO, "AWS::NoValue": NOTHING}
        for name, about in document["Parameters"].items():
            self.known[name] = parameters[name] if name in parameters else about["Default"]
        unknown = set(parameters) - set(document["Parameters"])
        if unknown:
            raise KeyError(f"no parameter is called {unknown}")

    def holds(self, name: str | None) -> bool:
        return name is None or bool(self.value(self.conditions[name]))

    def value(self, it: Any) -> Any:
        if isinstance(it, list):
            return [element for element in map(self.value, it) if element is not NOTHING]
        if not isinstance(it, dict):
            return it
        if len(it) == 1:
            ((name, arguments),) = it.items()
            if name in {"Ref", "Condition"} and isinstance(arguments, str):
                return self.holds(arguments) if name == "Condition" else self.ref(arguments)
            if name.startswith("Fn::"):
                return getattr(self, f"_{name[4:].lower()}")(arguments)
        evaluated = {key: self.value(inner) for key, inner in it.items()}
        return {key: inner for key, inner in evaluated.items() if inner is not NOTHING}

    def ref(self, name: str) -> Any:
        return self.known[name] if name in self.known else self.resolve(name, "")

    def _getatt(self, path: list[str]) -> Any:
        return self.resolve(path[0], path[1])

    def _if(self, arguments: list[Any]) -> Any:
        condition, then, otherwise = arguments
        return self.value(then if self.holds(condition) else otherwise)

    def _equals(self, pair: list[Any]) -> bool:
        return str(self.value(pair[0])) == str(self.value(pair[1]))

    def _not(self, condition: list[Any]) -> bool:
        return not self.value(condition[0])

    def _and(self, all_of: list[Any]) -> bool:
        return all(self.value(condition) for condition in all_of)

    def _or(self, any_of: list[Any]) -> bool:
        return any(self.value(condition) for condition in any_of)

    def _join(self, arguments: list[Any]) -> Any:
        return _joined(arguments[0], self.value(arguments[1]))

    def _findinmap(self, path: list[Any]) -> Any:
        name, first, second = (str(self.value(map_name)) for map_name in path)
        return self.mappings[name][first][second]

    def _select(self, arguments: list[Any]) -> Any:
        return self.value(arguments[1])[int(arguments[0])]

    def _getazs(self, _region: str) -> list[str]:
        return [f"{REGION}a", f"{REGION}b", f"{REGION}c"]

    def _sub(self, it: Any) -> Any:
        text, more = it if isinstance(it, list) else (it, {})
        own = {name: self.value(inner) for name, inner in more.items()}
        parts: list[Any] = []
        for index, piece in enumerate(PLACEHOLDER.split(text)):
            name, _, attribute = piece.partition(".")
            if index % 2 == 0:
                parts.append(piece)
            elif piece in own:
                parts.append(own[piece])
            else:
                parts.append(self.resolve(name, attribute) if attribute else self.ref(name))
        return _joined("", parts)


def _joined(between: str, parts: list[Any]) -> Any:
    """Return a string, or a Join if AWS determines a part of it later."""
    if any(isinstance(part, dict) for part in parts):
        return {"Fn::Join": [between, [part for part in parts if part != ""]]}
    return between.join(str(part) for part in parts)
