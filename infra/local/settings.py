"""Settings in the environment of the caller, as parameters of the template: `POLL_DEADLINE` is the parameter `PollDeadline`."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.local import tools

TEMPLATE = tools.ROOT / "infra" / "template.yaml"


def variable_name(name: str) -> str:
    """The environment variable for a parameter or an output of the template."""
    return re.sub(r"\B([A-Z])", r"_\1", name).upper()


def declared(template: Path = TEMPLATE) -> dict[str, Any]:
    """The template's parameters with their defaults."""

    class Loader(yaml.SafeLoader):
        """Reads the template and ignores its intrinsic functions."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    parameters = yaml.load(template.read_text(), Loader)["Parameters"]
    return {name: about.get("Default") for name, about in parameters.items()}


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that change a stack, because tests and scenarios choose their own settings."""
    ours = {*map(variable_name, declared()), "ONECLICKDZ_API_KEY", "SANDBOX_FLAGS"}
    return {name: value for name, value in environment.items() if name not in ours}


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters that the caller has set. An empty value counts as not set."""
    return {name: environment[variable_name(name)] for name in declared() if environment.get(variable_name(name))}


def release(parameters: Mapping[str, str]) -> str:
    """The parameter `Release` for these parameters: another one for each other setting of the functions."""
    settings = {name: value for name, value in parameters.items() if name not in ("Release", "Enabled")}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
