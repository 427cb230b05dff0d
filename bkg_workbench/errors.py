"""Every error of the workbench: code, HTTP status, message template and facts.

Owns the error tree and its form on the wire (`to_wire`, `from_wire`). A class is one wire code and
one HTTP status; its template turns facts into a sentence that says what, which one, what now.
Does not own logging or HTTP bodies.
"""

from __future__ import annotations

import string
from typing import Any, ClassVar


class WorkbenchError(Exception):
    """Base of all errors. `facts` fill the class's template and travel as the wire's `detail`.

    Parameters: `message` replaces the template; `facts` are JSON values.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    template: ClassVar[str] = "Something went wrong inside the workbench; its log has the details."

    def __init__(self, message: str | None = None, /, **facts: Any) -> None:
        self.facts = facts
        self.message = message if message is not None else _fill(self.template, facts)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message

    def to_wire(self) -> dict[str, Any]:
        """The failed response's fields: `error` (a sentence), `code` and, with facts, `detail`."""
        wire: dict[str, Any] = {"error": self.message, "code": self.code}
        if self.facts:
            wire["detail"] = self.facts
        return wire


class ProtocolError(WorkbenchError):
    """A peer sent something that the wire format does not allow. `field` names where, if known."""

    code, status = "protocol_error", 400
    template = "The message is not a valid envelope: {reason}."


class RequestError(WorkbenchError):
    """A request was answered with an error."""

    code, status = "request_failed", 502
    template = "The request for {capability} failed."


class InvalidParams(RequestError):
    """The payload does not match the capability's schema. Fact `errors`: {pointer: message}."""

    code, status = "invalid_params", 422
    template = "The payload for {capability} is not valid: {problems}."

    def __init__(self, message: str | None = None, /, **facts: Any) -> None:
        errors = facts.get("errors")
        if message is None and isinstance(errors, dict):
            problems = "; ".join(f"{where or '/'}: {what}" for where, what in errors.items())
            message = _fill(self.template, {**facts, "problems": problems})
        super().__init__(message, **facts)


class CapabilityNotFound(RequestError):
    """No plug-in declares the capability."""

    code, status = "capability_not_found", 404
    template = "No plug-in declares the capability {capability}; `bkg status` lists what there is."


class CapabilityUnavailable(RequestError):
    """Plug-ins declare the capability, but none of them is up."""

    code, status = "capability_unavailable", 503
    template = "{capability} is declared by {plugins}, but none of them is up; start one."


class RequestTimeout(RequestError):
    """The deadline passed before the answer came. Fact `seconds`: how long was waited, rounded."""

    code, status = "request_timeout", 504
    template = "No answer from {capability} within {seconds:g} s; give it a longer timeout."

    def __init__(self, message: str | None = None, /, **facts: Any) -> None:
        seconds = facts.get("seconds")
        if isinstance(seconds, (int, float)):
            # What remains of a caller's time is never round: 0.299 for 0.3, 29.998 for 30.
            facts["seconds"] = float(f"{seconds:.2g}") if seconds < 10 else round(seconds, 1)
        super().__init__(message, **facts)


class RequestCancelled(RequestError):
    """The asker cancelled."""

    code, status = "request_cancelled", 499
    template = "The request for {capability} was cancelled by its asker."


class Overloaded(RequestError):
    """Too many requests are in flight, or an asker reads its stream too slowly."""

    code, status = "overloaded", 429
    template = "{who} has {limit} requests in flight already; try again in a moment."


class Unauthenticated(RequestError):
    """No credentials, or ones that are not known."""

    code, status = "unauthenticated", 401
    template = "No valid token came with the connection to {what}."


class Forbidden(RequestError):
    """The caller is known but may not do this. Fact `scope`: what it would need."""

    code, status = "forbidden", 403
    template = "{who} may not request {scope}; list it in the definition's `calls`."


class PluginFailure(RequestError):
    """The plug-in's handler failed."""

    code, status = "plugin_failure", 502
    template = "{plugin} failed while it served {capability}; its log has the details."


class PluginDisconnected(RequestError):
    """The plug-in went away with the request in flight."""

    code, status = "plugin_disconnected", 502
    template = "{plugin} went away while it served {capability}; ask again once it is back."


class AlreadyRegistered(WorkbenchError):
    """A live plug-in has this name already."""

    code, status = "already_registered", 409
    template = "A plug-in named {plugin} is registered and alive; stop it first."


class LifecycleError(WorkbenchError):
    """A start, stop or restart did not go as asked."""

    code, status = "lifecycle_error", 409
    template = "{plugin} could not do that in its present state."


class InvalidTransition(LifecycleError):
    """The lifecycle machine refuses the event. Fact `story`: the events that led here."""

    code, status = "invalid_transition", 409
    template = "{plugin} is {state} and cannot take {event}."


class PluginNotFound(LifecycleError):
    """The workspace has no plug-in of this name."""

    code, status = "plugin_not_found", 404
    template = "There is no plug-in named {plugin} in this workspace; there are: {known}."


class StartFailed(LifecycleError):
    """The plug-in did not come up. Facts `reason` and `log` (its last lines)."""

    code, status = "start_failed", 502
    template = "{plugin} did not start: {reason}."


class ConfigInvalid(WorkbenchError):
    """Settings do not match the plug-in's configSchema. Fact `errors`: {JSON pointer: message}."""

    code, status = "config_invalid", 422
    template = "The settings of {plugin} are not valid: {problems}."

    def __init__(self, message: str | None = None, /, **facts: Any) -> None:
        errors = facts.get("errors")
        if message is None and isinstance(errors, dict):
            problems = "; ".join(f"{where or '/'}: {what}" for where, what in errors.items())
            message = _fill(self.template, {**facts, "problems": problems})
        super().__init__(message, **facts)


class ConfigConflict(WorkbenchError):
    """The settings were saved by somebody else meanwhile. Facts `version` (given), `current`."""

    code, status = "config_conflict", 409
    template = (
        "The settings of {plugin} are at version {current} by now, not {version}; "
        "read them again and repeat the change."
    )


class StoreError(WorkbenchError):
    """The workspace's database could not be read or written."""

    code, status = "store_error", 500
    template = "The workspace's database could not be used: {reason}."


class WorkspaceError(WorkbenchError):
    """The workspace cannot be used as asked."""

    code, status = "workspace_error", 400
    template = "The workspace {path} cannot be used: {reason}."


class WorkspaceOwned(WorkspaceError):
    """Another process is the Host of this workspace. Facts `pid`, `url`."""

    code, status = "workspace_owned", 409
    template = "Process {pid} is the Host of {path} already ({url}); use attach() to join it."


class HostNotFound(WorkspaceError):
    """No live Host serves this workspace."""

    code, status = "host_not_found", 404
    template = "No Host is running for {path}; start one with `bkg host` or workbench()."


class HostGone(WorkspaceError):
    """The Host that this workbench was attached to has gone."""

    code, status = "host_gone", 503
    template = "The Host of {path} has gone; start one with `bkg host` or workbench()."


def _classes(base: type[WorkbenchError]) -> dict[str, type[WorkbenchError]]:
    # Classes of other modules may share a code (`UnknownType` is a protocol_error); they must not
    # take the place of this module's.
    found = {base.code: base}
    for child in base.__subclasses__():
        if child.__module__ == __name__:
            found.update(_classes(child))
    return found


def by_code() -> dict[str, type[WorkbenchError]]:
    """Every error class of this module by its wire code."""
    return _classes(WorkbenchError)


def from_wire(error: str | None, code: str | None, detail: Any = None) -> WorkbenchError:
    """The error that a failed response stands for.

    A response without a known `code` (plug-ins that speak only the seed's contract send none)
    is a `PluginFailure` with the plug-in's own sentence.
    """
    kind = by_code().get(code or "")
    facts = (
        {k: v for k, v in detail.items() if k.isidentifier()} if isinstance(detail, dict) else {}
    )
    if kind is None:
        if code:
            facts["code"] = code
        kind = PluginFailure
    return kind(error or "The request failed without a reason.", **facts)


class _Lenient(string.Formatter):
    """A template whose missing facts read as a dash: an error never hides behind another."""

    def get_value(self, key: int | str, args: Any, kwargs: Any) -> Any:
        value = kwargs.get(key) if isinstance(key, str) else None
        if isinstance(value, (list, tuple)):
            return ", ".join(str(v) for v in value) or "none"
        return "–" if value is None else value

    def format_field(self, value: Any, format_spec: str) -> str:
        try:
            return str(format(value, format_spec))
        except (TypeError, ValueError):
            return str(value)


def _fill(template: str, facts: dict[str, Any]) -> str:
    return _Lenient().vformat(template, (), facts)
