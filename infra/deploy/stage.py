"""The stages of infra/samconfig.toml, and the stack that a command is about."""

import argparse
import os
import shlex
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.local import settings, tools
from infra.local.cloud import Cloud
from infra.local.local_stack import Stack, local_cloud
from infra.local.processes import Failure, run_command

SAMCONFIG = tools.ROOT / "infra" / "samconfig.toml"


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


def add_target(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a stack."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--stage", help="the stack of this environment of infra/samconfig.toml; without it: the stack STACK_NAME in AWS_REGION")
    chosen.add_argument("--dir", type=Path, help="the local stack in this directory")


def target(options: argparse.Namespace) -> Cloud:
    """The stack that the options name."""
    if options.dir:
        return local_cloud(Stack(options.dir).read_env()["AWS_ENDPOINT_URL"])
    return Stage.read(SAMCONFIG, options.stage).target() if options.stage else Cloud()
