"""What a plug-in imports: declare capabilities, then `run()`.

Owns the plug-in's side of the bus: register, health beats, telemetry, log lines, requests both
ways, streams, progress, cancellation, live settings, connecting again. Does not own starting or
ending processes; the workspace's Host does that. A whole plug-in:

    from bkg_workbench.sdk import Context, Plugin, Settings

    class HelloSettings(Settings):
        greeting: str = "Hello"

    plugin = Plugin("hello", settings=HelloSettings)

    @plugin.capability("hello.greet", idempotent=True)
    async def greet(payload: dict[str, str], context: Context) -> dict[str, str]:
        return {"text": f"{context.settings.greeting}, {payload['name']}!"}

    if __name__ == "__main__":
        plugin.run()
"""

from __future__ import annotations

from msgspec import Meta, Struct

from bkg_workbench.errors import (
    CapabilityNotFound,
    CapabilityUnavailable,
    ConfigInvalid,
    Forbidden,
    HostGone,
    InvalidParams,
    Overloaded,
    PluginDisconnected,
    PluginFailure,
    RequestCancelled,
    RequestError,
    RequestTimeout,
    Unauthenticated,
    WorkbenchError,
)
from bkg_workbench.protocol import chain, routes
from bkg_workbench.protocol.capabilities import covers, is_name
from bkg_workbench.protocol.envelopes import Caller
from bkg_workbench.sdk.context import Closing, Context, Stream
from bkg_workbench.sdk.plugin import Plugin
from bkg_workbench.sdk.settings import Secret, Settings

__all__ = [
    "Caller",
    "CapabilityNotFound",
    "CapabilityUnavailable",
    "Closing",
    "ConfigInvalid",
    "Context",
    "Forbidden",
    "HostGone",
    "InvalidParams",
    "Meta",
    "Overloaded",
    "Plugin",
    "PluginDisconnected",
    "PluginFailure",
    "RequestCancelled",
    "RequestError",
    "RequestTimeout",
    "Secret",
    "Settings",
    "Stream",
    "Struct",
    "Unauthenticated",
    "WorkbenchError",
    "chain",
    "covers",
    "is_name",
    "routes",
]
