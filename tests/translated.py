"""The template as CloudFormation gets it: translated from SAM, for linters; and the policies of its roles, for a linter of policies.

A policy's `!Ref`, `!GetAtt` and `!Sub` are replaced by ARNs of an example account, because that linter compares actions with ARNs.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from infra.local import settings, tools
from infra.local.processes import Failure

FOLDER = tools.ROOT / ".local" / "lint"
TRANSLATED = FOLDER / "template.json"
POLICIES = FOLDER / "policies"
EXAMPLES = [tools.ROOT / "docs" / f"{name}-policy.json" for name in ("deployer", "cloudformation")]
PLACE = "eu-west-3:123456789012"
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": "eu-west-3", "AWS::AccountId": "123456789012", "AWS::StackName": "topup-tracker",
          "AWS::URLSuffix": "amazonaws.com"}
# What follows the account in the ARN of a resource. Others are named by their type.
ARNS = {
    "AWS::DynamoDB::Table": "dynamodb:{place}:table/{name}", "AWS::Events::EventBus": "events:{place}:event-bus/{name}",
    "AWS::Events::Rule": "events:{place}:rule/bus/{name}", "AWS::KMS::Key": "kms:{place}:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "AWS::SecretsManager::Secret": "secretsmanager:{place}:secret:{name}-abcdef", "AWS::Logs::LogGroup": "logs:{place}:log-group:{name}:*",
    "AWS::SQS::Queue": "sqs:{place}:{name}", "AWS::Lambda::Function": "lambda:{place}:function:{name}",
    "AWS::Lambda::Alias": "lambda:{place}:function:{name}:live",
    "AWS::StepFunctions::StateMachine": "states:{place}:stateMachine:{name}", "AWS::IAM::Role": "iam::123456789012:role/{name}",
}
# Findings of parliament that are left out: its name, the policy, and the reason. (Its own list of exceptions has no effect in version 1.7.0.)
EXCEPTIONS = {
    # CloudFormation names a secret and a state machine without the stack's name, and keys and APIs have no name. So this role, which only CloudFormation
    # assumes, is limited by service; its roles are limited by name.
    # It could read the secrets. A person who may deploy functions could, too, because the functions read them.
    ("RESOURCE_STAR", "cloudformation-policy"),
    # The SAM CLI gives its bucket a policy. The bucket contains the programs only, which the deployer may replace anyway.
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "deployer-policy"),
}


class NoManagedPolicies:
    """The template uses none of SAM's policies."""

    def load(self) -> dict[str, str]:
        """No policies."""
        return {}


def translate(**parameters: str) -> dict[str, Any]:
    """The translated template, with these parameters or their defaults. The functions' code is not needed for it."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-3")  # the translator asks for one
    from samtranslator.translator.transform import transform  # type: ignore[import-untyped]
    from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

    template = yaml_parse(settings.TEMPLATE.read_text())
    for resource in template["Resources"].values():
        for name in {"CodeUri", "DefinitionUri"} & resource.get("Properties", {}).keys():
            resource["Properties"][name] = "s3://bucket/key"
    translated: dict[str, Any] = transform(template, parameters, NoManagedPolicies())
    return translated


def refuse_circle(template: dict[str, Any]) -> None:
    """Fails if resources refer to each other in a circle, which CloudFormation refuses. It counts every reference, also in an update policy."""
    def names(value: Any) -> set[str]:
        if isinstance(value, list):
            return {name for one in value for name in names(one)}
        if not isinstance(value, dict):
            return set()
        found = {name for one in value.values() for name in names(one)}
        for function in ("Ref", "Fn::GetAtt", "Fn::Sub"):
            one = value.get(function)
            text = one[0] if isinstance(one, list) and one else one
            if isinstance(text, str):
                found |= set(re.findall(r"\$\{(\w+)", text)) if function == "Fn::Sub" else {text.split(".")[0]}
        return found

    resources = template["Resources"]
    needs = {name: (names(about) | set(about["DependsOn"] if isinstance(about.get("DependsOn"), list) else [about.get("DependsOn")])) & resources.keys()
             for name, about in resources.items()}
    while free := {name for name, others in needs.items() if not others & needs.keys()}:
        needs = {name: others for name, others in needs.items() if name not in free}
    if needs:
        raise Failure(f"these resources need each other in a circle: {', '.join(sorted(needs))}")


def _text(name: str, template: dict[str, Any]) -> str:
    """What `!Ref name`, `!GetAtt name.Arn` or `${name}` is, for an example."""
    name = name.split(".")[0]
    if name in PSEUDO:
        return PSEUDO[name]
    if name in template["Parameters"]:
        return str(template["Parameters"][name].get("Default") or name)
    kind = template["Resources"][name]["Type"]
    return "arn:aws:" + ARNS.get(kind, f"{kind.split('::')[1].lower()}:{{place}}:{{name}}").format(place=PLACE, name=name)


def _resolved(value: Any, template: dict[str, Any]) -> Any:
    """The value with texts instead of intrinsic functions; of a condition, the first branch."""
    if isinstance(value, list):
        return [one for one in (_resolved(one, template) for one in value) if one is not None]
    if not isinstance(value, dict):
        return value
    match next(iter(value.items()), None):
        case ("Ref", "AWS::NoValue"):
            return None
        case ("Ref", name):
            return _text(name, template)
        case ("Fn::GetAtt", [name, *_]):
            return _text(name, template)
        case ("Fn::GetAtt", str(name)):
            return _text(name, template)
        case ("Fn::If", [_, chosen, _]):
            return _resolved(chosen, template)
        case ("Fn::Sub", [text, dict(more)]):  # the names of resources, not their ARNs
            names = {name: str(_resolved(one, template)).rpartition("/")[2] for name, one in more.items()}
            return re.sub(r"\$\{([^!}]+)\}", lambda found: names.get(found[1]) or _text(found[1], template), text)
        case ("Fn::Sub", str(text)):
            return re.sub(r"\$\{([^!}]+)\}", lambda found: _text(found[1], template), text)
    return {name: _resolved(one, template) for name, one in value.items()}


def lint_policies() -> None:
    """Checks that the actions, resources and conditions of the policies exist and fit together; fails with the findings that are no exceptions."""
    command = [str(tools.program("policies", "parliament")), "--json", "--directory", str(POLICIES)]
    ran = subprocess.run(command, capture_output=True, text=True)
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    names = {(one["issue"], Path(one["location"]["filepath"]).stem): one for one in found}
    if ran.stderr or (ran.returncode != 0) != bool(found):
        raise Failure(f"parliament: {ran.stderr or ran.stdout}")
    if wrong := [f"{policy}: {issue} {names[issue, policy]['detail']}" for issue, policy in sorted(names.keys() - EXCEPTIONS)]:
        raise Failure("\n".join(wrong))
    if gone := EXCEPTIONS - names.keys():
        raise Failure(f"these exceptions are not needed: {gone}")
    print(f"{len(list(POLICIES.iterdir()))} policies, {len(EXCEPTIONS)} exceptions")


def write() -> None:
    """Writes the translated template, and each policy of a role and of docs/ to a file of its own."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    POLICIES.mkdir(parents=True)
    template = translate()
    TRANSLATED.write_text(json.dumps(template, indent=1))
    refuse_circle(template)
    refuse_circle(translate(DeploymentPreference="Canary10Percent15Minutes"))
    documents: dict[str, Any] = {file.stem: json.loads(file.read_text()) for file in EXAMPLES}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            for policy in resource["Properties"]["Policies"]:
                documents[f"{name}-{policy['PolicyName']}"] = _resolved(policy["PolicyDocument"], template)
    for name, document in documents.items():
        Path(POLICIES / f"{name}.json").write_text(json.dumps(document, indent=1))
