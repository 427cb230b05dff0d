"""A form on a page, and short words for what hands do to it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext, Locator

from bkg_workbench.protocol.forms import Form
from bkg_workbench.widgets.forms import FormWidget
from tests.browser.form_page import Bridge, read, typed
from tests.helpers import eventually

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "title": "Name", "minLength": 2, "description": "Of it."},
        "users": {"type": "integer", "title": "Users", "minimum": 1, "default": 10},
        "ratio": {"type": "number", "title": "Ratio", "multipleOf": 0.25, "minimum": 0},
        "mode": {"enum": ["steady", "ramp"], "title": "Mode", "default": "steady"},
        "region": {"enum": ["a1", "b2", "c3", "d4", "e5"], "title": "Region"},
        "on": {"type": "boolean", "title": "On"},
        "note": {"type": ["string", "null"], "title": "Note"},
        "token": {"type": "string", "format": "password", "title": "Token"},
        "day": {"type": "string", "format": "date", "title": "Day"},
        "labels": {"type": "array", "title": "Labels", "items": {"type": "string"}},
        "steps": {
            "type": "array",
            "title": "Steps",
            "items": {
                "type": "object",
                "required": ["n"],
                "properties": {"n": {"type": "integer", "title": "N"}, "t": {"type": "string"}},
            },
        },
        "env": {
            "type": "object",
            "title": "Env",
            "propertyNames": {"pattern": "^[A-Z]+$"},
            "additionalProperties": {"type": "string"},
        },
        "engine": {
            "title": "Engine",
            "oneOf": [
                {
                    "title": "Local",
                    "type": "object",
                    "required": ["path"],
                    "properties": {"path": {"type": "string", "title": "Path"}},
                },
                {"title": "Remote", "type": "string"},
            ],
        },
        "inner": {
            "type": "object",
            "title": "Inner",
            "properties": {"deep": {"type": "integer", "title": "Deep", "maximum": 3}},
        },
        "any": {"title": "Anything"},
        "fixed": {"type": "string", "title": "Fixed", "readOnly": True},
    },
}
VALUE: dict[str, Any] = {
    "name": "goose",
    "token": "***",
    "labels": ["a", "b", "c"],
    "steps": [{"n": 1}, {"n": 2}, {"n": 3}],
    "env": {"PATH": "/bin", "LANG": "C"},
    "any": {"x": 1},
    "fixed": "as it is",
    "old": [1, 2],
}


class Hands:
    """A page with a form, and short words for what is done to it."""

    def __init__(self, context: BrowserContext, schema: Any, value: Any) -> None:
        self.widget = FormWidget(Form(schema, value))
        self.bridge = Bridge(context, self.widget)
        self.page = self.bridge.page
        self.page.set_default_timeout(20_000)

    @property
    def value(self) -> Any:
        """The model's value, once all that was done has reached it."""
        self.bridge.settle()
        return self.widget.form.value

    def field(self, title: str) -> Locator:
        """The control with this name."""
        return self.page.get_by_label(title, exact=True)

    def press(self, name: str) -> None:
        """Press the button with this name."""
        self.page.get_by_role("button", name=name, exact=True).click()
        self.bridge.settle()

    def gets(self, at: str, wanted: Any) -> None:
        """Wait until the model has a value there."""

        def there() -> bool:
            here = self.value
            for key in at.split("/")[1:]:
                here = here[int(key)] if isinstance(here, list) else here.get(key)
            return bool(here == wanted)

        eventually(there, timeout=10)

    def focused(self) -> str:
        """The pointer of the place that has the focus."""
        return str(
            self.page.evaluate("document.activeElement.closest('[data-at]')?.dataset.at ?? ''")
        )

    def close(self) -> None:
        self.bridge.settle()
        errors, asked = self.bridge.errors, self.bridge.asked
        shown = read(self.bridge)
        back = typed(shown["tree"], self.widget.shown["root"])
        value = self.widget.form.value
        self.bridge.close()
        assert errors == []
        assert all(url.startswith("http://localhost:1/") for url in asked), asked
        # Whatever was done: what the controls show is what the model holds.
        assert back == {**value, **({"token": "***"} if "token" in value else {})}
