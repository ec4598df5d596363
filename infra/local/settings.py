"""Settings in the environment of the caller, as parameters of the template: `POLL_DEADLINE` is the parameter `PollDeadline`."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.local import tools

TEMPLATE = tools.ROOT / "infra" / "template.yaml"


def variable_name(name: str) -> str:
    """The environment variable for a parameter or an output of the template."""
    return re.sub(r"\B([A-Z])", r"_\1", name).upper()


@cache
def parameters(template: Path = TEMPLATE) -> dict[str, dict[str, Any]]:
    """The template's parameters as they are declared, by name."""

    class Loader(yaml.SafeLoader):
        """Reads the template and ignores its intrinsic functions."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    found: dict[str, dict[str, Any]] = yaml.load(template.read_text(), Loader)["Parameters"]
    return found


def declared(template: Path = TEMPLATE) -> dict[str, Any]:
    """The template's parameters with their defaults."""
    return {name: about.get("Default") for name, about in parameters(template).items()}


def is_readable_on_white(colour: str) -> bool:
    """Whether a colour (#rrggbb) has a contrast of at least 4.5 with white (WCAG 2.2, "contrast ratio"), as the functions ask of SHOP_COLOUR."""
    parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5


# A parameter that has a value needs the other one, as the rules of the template say.
NEEDED = (("AdoptTable", "AdoptCardKey"), ("AdoptCardKey", "AdoptTable"), ("Subnets", "SecurityGroups"), ("DomainName", "CertificateArn"))


def problems(values: Mapping[str, str]) -> list[str]:
    """What CloudFormation would refuse in these parameters, in the template's words, and what no constraint can say; empty if nothing. A value is not
    repeated: it can be a key in the wrong place."""
    known = parameters()
    found = [f"{name} is no parameter of {TEMPLATE.name}" for name in values if name not in known]
    for name, about in known.items():
        value = values.get(name, str(about.get("Default", "")))
        members = value.split(",") if about["Type"] == "CommaDelimitedList" else [value]
        pattern, allowed = about.get("AllowedPattern"), [str(one) for one in about.get("AllowedValues", [])]
        fits = not pattern or all(re.fullmatch(pattern, member.strip()) for member in members)
        if not fits or (allowed and value not in allowed) or (name == "ShopColour" and not is_readable_on_white(value)):
            found.append(f"{name}: {about['ConstraintDescription']}")
    given = {name for name in known if values.get(name, str(known[name].get("Default", "")))}
    found += [f"{one} needs {other}" for one, other in NEEDED if one in given and other not in given]
    if found:
        return found
    rate, burst = (int(values.get(name, known[name]["Default"])) for name in ("VendorCallsPerMinute", "VendorCallsBurst"))
    less = f"VENDOR_CALLS_BURST is {burst}; it must be from 1 to 10000, and less than VENDOR_CALLS_PER_MINUTE ({rate})"
    return [] if burst < rate else [f"VendorCallsBurst: {less}"]


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
