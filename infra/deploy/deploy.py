"""Deploys a stage of infra/samconfig.toml to AWS: `make deploy STAGE=production`.

1. Checks the settings, the credentials and, while the stack's secret has no value, the vendor's key. Nothing is built or changed before.
2. Builds the functions, and deploys with the SAM CLI. While a secret has no value, the stack is deployed with `Enabled` off: nothing is scheduled, and no
   alarm notifies.
3. Puts the first values into the secrets, and deploys once more with `Enabled` on.

A failure at any point is repeated with the same command. A secret that has a value is never read and never replaced.
"""

import argparse
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from infra.local import tools

if __name__ == "__main__":
    tools.enter(environment="deploy")

from infra.deploy import vendor_key
from infra.deploy.stage import SAMCONFIG, Stage
from infra.local import cloud, lifecycle, settings

say = partial(print, "deploy:", flush=True)


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
