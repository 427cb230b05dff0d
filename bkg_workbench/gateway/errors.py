"""What only HTTP can get wrong, as errors of the house, and the one shape of an error's body.

Owns statuses that no capability answers with, `Retry-After`, and the bodies of `/v1` (OpenAI's
shape) and of everything else. A traceback or a text of a third party never gets into one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from bkg_workbench.errors import InvalidParams, WorkbenchError

RETRY_SECONDS = {429: 1, 503: 2}
OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


class HttpError(WorkbenchError):
    """A request that the gateway itself refuses. `headers` go with the answer."""

    code, status = "bad_request", 400
    template = "The request is not one that this server takes: {reason}."
    headers: ClassVar[dict[str, str]] = {}


class Malformed(HttpError):
    """The bytes are not one HTTP/1.1 request, or could be read as another one. Fact `reason`."""


class BadJson(HttpError):
    """The body is no JSON object. Fact `reason`."""

    code = "bad_json"
    template = "The body is not a JSON object: {reason}."


class NotFound(HttpError):
    """No route has this path."""

    code, status = "not_found", 404
    template = "Nothing is served at {path}; GET /openapi.json lists what is."


class MethodNotAllowed(HttpError):
    """The path takes other methods. Fact `allow`."""

    code, status = "method_not_allowed", 405
    template = "{method} is not taken here; use {allow}."


class TooSlow(HttpError):
    """The head or the body did not come in time."""

    code, status = "request_too_slow", 408
    template = "The {part} of the request did not come within {seconds:g} s."


class TooLarge(HttpError):
    """The body is too large. Fact `limit` in bytes."""

    code, status = "body_too_large", 413
    template = "The body is larger than {limit} bytes."


class UnsupportedMedia(HttpError):
    """The body is not plain `application/json`."""

    code, status = "unsupported_media_type", 415
    template = "The body must be sent as {wanted}, not as {got}."


class ExpectationFailed(HttpError):
    """`Expect` asks for something other than `100-continue`."""

    code, status = "expectation_failed", 417
    template = "Only `Expect: 100-continue` is understood."


class Misdirected(HttpError):
    """The `Host` header names another server: a rebound name, or a proxy without its setting."""

    code, status = "misdirected_request", 421
    template = "This server is not {host}; name further hosts in BKG_ALLOWED_HOSTS."


class ForeignOrigin(HttpError):
    """A page of another origin asks."""

    code, status = "foreign_origin", 403
    template = "Pages of {origin} may not ask this server."


class HeadTooLarge(HttpError):
    """The head is too large or has too many fields."""

    code, status = "head_too_large", 431
    template = "The head of a request may have {limit}."


class Crowded(HttpError):
    """Too many connections."""

    code, status = "too_many_connections", 503
    template = "There are {limit} connections already; close some, or try again in a moment."


class AuthUnavailable(HttpError):
    """Nobody can say whose the token is: what cannot be checked is refused."""

    code, status = "auth_unavailable", 503
    template = "The token cannot be checked now (apikeys does not answer); try again in a moment."


def retry_after(error: WorkbenchError) -> int | None:
    """Seconds after which to ask again, for the statuses that may pass by themselves."""
    for name in ("retryAfterSeconds", "retryAfter", "retry_after", "retry_after_seconds"):
        seconds = error.facts.get(name)
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
            return int(min(seconds, 86_400) + 0.999)
    return RETRY_SECONDS.get(error.status)


def status_of(error: WorkbenchError, *, openai: bool = False) -> int:
    """The HTTP status of an error. OpenAI's clients know a wrong parameter as 400."""
    if openai and isinstance(error, InvalidParams):
        return 400
    # 499 is known to nobody but logs: only its client could have cancelled, and has gone.
    return error.status


def body_of(error: WorkbenchError, request_id: str, *, openai: bool = False) -> bytes:
    """The body of an error: `{error: {code, message, detail, id}}`; below `/v1` OpenAI's."""
    return _encode(as_openai(error, request_id) if openai else as_shown(error, request_id))


def as_shown(error: WorkbenchError, request_id: str) -> dict[str, Any]:
    """The documented shape."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.facts:
        told["detail"] = error.facts
    return {"error": {**told, "id": request_id}}


def as_openai(error: WorkbenchError, request_id: str) -> dict[str, Any]:
    """OpenAI's shape: {message, type, param, code}, and our `id`."""
    status = status_of(error, openai=True)
    errors = error.facts.get("errors")
    param: Any = error.facts.get("param")
    if param is None and isinstance(errors, dict) and errors:
        param = str(next(iter(errors))).strip("/").replace("/", ".") or None
    kind = error.facts.get("type")
    code = error.facts.get("code", "invalid_api_key" if status == 401 else error.code)
    return {
        "error": {
            "message": error.message,
            "type": kind if isinstance(kind, str) else OPENAI_TYPES.get(status, "server_error"),
            "param": param if isinstance(param, str) else None,
            "code": code if isinstance(code, str) else error.code,
            "id": request_id,
        }
    }


def _encode(shown: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(shown)
    except (TypeError, ValueError, RecursionError):
        # Facts of a foreign error that have no JSON form must not hide the error.
        shown["error"].pop("detail", None)
        return msgspec.json.encode(shown)
