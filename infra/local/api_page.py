"""Writes `.local/docs/api.html`, a page that shows `infra/openapi.yaml` in a browser. `make docs`.

The page is one file. It holds the document and Redoc's bundle, and its content security policy forbids every request to other hosts.
The bundle contains its libraries, so `redoc/package-lock.json` pins the package `redoc` without dependencies.
"""

import base64
import json
import os
import sys
from pathlib import Path

from infra.local import tools

if __name__ == "__main__":
    tools.enter("redoc")

import yaml

DOCUMENT = tools.ROOT / "infra" / "openapi.yaml"
PAGE = tools.ROOT / ".local" / "docs" / "api.html"
BUNDLE = tools.TOOLS / "redoc" / "node_modules" / "redoc" / "bundles" / "redoc.standalone.js"

# `worker-src blob:` is for the search.
POLICY = "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:; worker-src blob:"
# The style hides Redoc's logo, an image of another host.
TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>body {{ margin: 0 }} img[src^="http"] {{ display: none }}</style>
</head>
<body>
<main id="page"></main>
<script src="data:text/javascript;base64,{bundle}"></script>
<script>Redoc.init({document}, {options}, document.getElementById("page"))</script>
</body>
</html>
"""
OPTIONS = {"expandResponses": "200,201", "jsonSampleExpandLevel": 3, "hideDownloadButton": True, "requiredPropsFirst": False}


def page(document: Path, bundle: Path) -> str:
    """The HTML of the page."""
    content = yaml.safe_load(document.read_text(encoding="utf-8"))
    return TEMPLATE.format(
        policy=POLICY,
        title=content["info"]["title"],
        bundle=base64.b64encode(bundle.read_bytes()).decode(),
        document=json.dumps(content).replace("<", "\\u003c"),  # a script element ends at the first `</script`
        options=json.dumps(OPTIONS),
    )


def main() -> None:
    """Writes the page and says where it is."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(DOCUMENT, BUNDLE), encoding="utf-8")
    print(f"wrote {os.path.relpath(PAGE)}", file=sys.stderr)


if __name__ == "__main__":
    main()
