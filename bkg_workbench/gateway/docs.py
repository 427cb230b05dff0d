"""`/docs`: the gateway's description as a page that can try each route, without any network.

Owns the page and its files (Swagger UI, vendored, see `static/README.md`). The description itself
is `gateway.openapi`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from bkg_workbench._version import __version__

STATIC = files("bkg_workbench.gateway") / "static"

Answer = tuple[bytes, Mapping[str, str]]
"""A body and its headers."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>BKG Workbench: the gateway</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/docs.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/docs.js"></script>
</body>
</html>
"""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src data:; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)
"""The page may reach nothing but the gateway itself."""

FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
}


def page() -> Answer:
    """The page."""
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-cache",
    }
    return PAGE.encode(), headers


def file(name: str) -> Answer | None:
    """A file of the page, or None where it has none of that name."""
    if name not in FILES:
        return None
    headers = {
        "Content-Type": FILES[name],
        "Cache-Control": "max-age=86400",
        "ETag": f'"{__version__}"',
    }
    packed = STATIC / f"{name}.gz"
    if packed.is_file():
        return packed.read_bytes(), {**headers, "Content-Encoding": "gzip"}
    return (STATIC / name).read_bytes(), headers
