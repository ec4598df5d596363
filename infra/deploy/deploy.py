"""Deploys a stage of infra/samconfig.toml to AWS: `make deploy STAGE=production`.

1. Checks the settings, the credentials and, while the stack's secret has no value, the vendor's key. Nothing is built or changed before.
2. Builds the functions, and deploys with the SAM CLI. While a secret has no value, the stack is deployed with `Enabled` off: nothing is scheduled, and no
   alarm notifies.
3. Puts the first values into the secrets, and deploys once more with `Enabled` on.

A failure at any point is repeated with the same command. A secret that has a value is never read and never replaced.
"""

import argparse
import os
import shlex
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from infra.local import tools

if __name__ == "__main__":
    tools.enter(environment="deploy")

import yaml

from infra.deploy import vendor_key
from infra.local import cloud, lifecycle, settings
from infra.local.cloud import Cloud
from infra.local.processes import Failure, run_command

SAMCONFIG = tools.ROOT / "infra" / "samconfig.toml"
say = partial(print, "deploy:", flush=True)


@dataclass
class Stage:
    """An environment of samconfig.toml."""

    name: str
    file: Path
    options: Mapping[str, Any]  # of `sam deploy`

    @classmethod
    def read(cls, file: Path, name: str) -> "Stage":
        """The environment of this name. Fails if the file has none."""
        try:
            stages = tomllib.loads(file.read_text())
            options = stages[name]["deploy"]["parameters"]
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Failure(f"{file}: {error}") from None
        except (KeyError, TypeError):
            raise Failure(f"{file} has no [{name}.deploy.parameters]; it has {', '.join(sorted(stages.keys() - {'version'}))}") from None
        if not options.get("stack_name"):
            raise Failure(f"{file}: [{name}.deploy.parameters] has no stack_name")
        return cls(name, file, options)

    def parameters(self) -> dict[str, str]:
        """All parameters of the template: those of this stage, and the defaults of the others, so that none keeps an earlier value. Fails if the template
        would refuse one."""
        given = self.options.get("parameter_overrides", {})
        if not isinstance(given, dict):  # a text or a list, as `sam deploy --guided` writes it
            words = shlex.split(given) if isinstance(given, str) else given
            given = dict(word.split("=", 1) for word in words)
        values = {**settings.declared(), "Enabled": "on", **given}
        values = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in values.items()}
        found = settings.problems(values)
        if not os.environ.get("AWS_ENDPOINT_URL"):
            found += [f"{name}: loopback is for a local AWS" for name in ("OneclickdzBaseUrl", "WebhookUrl") if values[name].startswith("http:")]
        values["Release"] = settings.release(values)
        if found:
            raise Failure("\n".join([f"{self.file}, stage {self.name}:", *(f"    {line}" for line in found)]))
        return values

    def target(self) -> Cloud:
        """The stack in the AWS of the environment; the stage may name a region and a profile."""
        return Cloud(self.options["stack_name"], region=self.options.get("region") or os.environ.get("AWS_REGION"), profile=self.options.get("profile"))

    def deploy(self, values: Mapping[str, str], confirm: bool) -> None:
        """Runs `sam deploy` with these parameters, in a file: as words of the command, a value with spaces or without text would need quotes of its own."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "parameters.yaml"
            file.write_text(yaml.safe_dump(dict(values)))
            words = ["--template-file", str(settings.TEMPLATE), "--config-file", str(self.file), "--config-env", self.name,
                     "--parameter-overrides", f"file://{file}", "--confirm-changeset" if confirm else "--no-confirm-changeset", "--no-fail-on-empty-changeset"]
            region = {"AWS_DEFAULT_REGION": region} if (region := os.environ.get("AWS_REGION")) else {}
            run_command(str(tools.program("deploy", "sam")), "deploy", *words,
                        environment={"SAM_CLI_TELEMETRY": os.environ.get("SAM_CLI_TELEMETRY", "0"), **region})


def deploy(options: argparse.Namespace) -> None:
    """Deploys, as the module says."""
    stage = Stage.read(options.config_file, options.stage)
    values, target = stage.parameters(), stage.target()
    lifecycle.check(target, values)
    missing = target.secrets_without_value(target.outputs())
    say(f"stage {stage.name}: stack {target.stack_name}")
    if ignored := sorted(map(settings.variable_name, settings.from_environment(os.environ))):
        say(f"set in the environment, and not read: {', '.join(ignored)}. A setting is read from {stage.file.name} only")
    api_key = read_key(options.key_file, values) if cloud.SECRET_OF_THE_KEY in missing else ""
    if options.key_file and not api_key:
        say('the secret keeps its value; to change it: docs/operations.md, "The secrets"')
    if not options.no_build:
        cloud.build_functions(values["Architecture"])
    stage.deploy({**values, "Enabled": "off"} if missing else values, options.confirm)
    if missing:
        target.put_first_secrets(target.outputs() or {}, api_key)
        say(f"first values are in {', '.join(sorted(missing))}")
        if values["Enabled"] == "on":
            stage.deploy(values, options.confirm)
    say(f"the schedule and the alarms are {values['Enabled']}" + ("" if values["Enabled"] == "on" else f": Enabled in {stage.file.name} says so"))
    say('the token is in the secret TokensSecretId; how to read it: docs/operations.md, "The secrets"')


def read_key(file: str, values: Mapping[str, str]) -> str:
    """The vendor's key, and prints what the vendor says about it."""
    key = vendor_key.read(file)
    for line in vendor_key.report(values["OneclickdzBaseUrl"], key):
        say(f"vendor's key: {line}")
    return key


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", default="default", help="the environment of samconfig.toml (default: default)")
    parser.add_argument("--config-file", type=lambda text: Path(text).resolve(), default=SAMCONFIG, help="default: infra/samconfig.toml")
    parser.add_argument("--key-file", default="", help="the file with the vendor's key, or - for standard input; without it the key is asked for")
    parser.add_argument("--check-key", action="store_true", help="only say what the vendor says about a key")
    parser.add_argument("--confirm", action="store_true", help="show each change set, and ask before it is carried out")
    parser.add_argument("--no-build", action="store_true", help="use the programs that are already built")
    options = parser.parse_args()
    with cloud.errors_shown():
        if options.check_key:
            read_key(options.key_file, Stage.read(options.config_file, options.stage).parameters())
        else:
            deploy(options)


if __name__ == "__main__":
    main()
