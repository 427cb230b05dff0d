"""A form under somebody's hands: each kind typed into, and what the model made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator

from bkg_workbench.protocol.forms import Form
from bkg_workbench.widgets.forms import FormWidget
from tests.browser.form_page import Bridge, read, typed
from tests.helpers import eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

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


@pytest.fixture
def open_form(context: BrowserContext) -> Iterator[Callable[..., Hands]]:
    opened: list[Hands] = []

    def open_(schema: Any = SCHEMA, value: Any = VALUE) -> Hands:
        opened.append(Hands(context, schema, value))
        return opened[-1]

    yield open_
    for hands in opened:
        hands.close()


@pytest.fixture
def hands(open_form: Callable[..., Hands]) -> Hands:
    return open_form()


def test_a_mistake_is_told_while_typing_and_goes_with_it(hands: Hands) -> None:
    name = hands.field("Name")
    name.fill("x")
    error = hands.page.get_by_text("must have at least 2 characters")
    error.wait_for()
    assert name.get_attribute("aria-invalid") == "true"
    told = name.get_attribute("aria-describedby") or ""
    assert error.get_attribute("id") in told.split()
    name.press_sequentially("yz")
    error.wait_for(state="detached")
    assert hands.value["name"] == "xyz"
    assert name.get_attribute("aria-invalid") is None


def test_what_is_typed_is_never_overwritten_by_a_late_answer(hands: Hands) -> None:
    hands.page.evaluate("window.delayMs = 400")
    name = hands.field("Name")
    name.focus()
    name.press("End")
    for letter in " of the north":
        name.press(letter)
    name.press("Home")
    for _ in range(5):
        name.press("ArrowRight")
    name.press("!")
    hands.page.evaluate("window.delayMs = 0")
    hands.gets("/name", "goose! of the north")
    assert name.input_value() == "goose! of the north"
    assert name.evaluate("(input) => input.selectionStart") == 6


def test_an_answer_of_somebody_else_waits_for_the_focus_to_go(hands: Hands) -> None:
    name = hands.field("Name")
    name.fill("mine")
    hands.gets("/name", "mine")
    hands.widget.form.apply({"op": "set", "at": "/name", "value": "theirs"})
    hands.widget.refresh()
    hands.bridge.deliver()
    assert name.input_value() == "mine"
    hands.field("Users").focus()
    eventually(lambda: name.input_value() == "theirs")


def test_a_number_keeps_what_was_typed_while_it_is_none(hands: Hands) -> None:
    users = hands.field("Users")
    users.fill("12 or so")
    hands.page.get_by_text("must be a whole number").wait_for()
    users.blur()
    hands.bridge.settle()
    assert users.input_value() == "12 or so"
    users.fill("12345678901234567890")
    hands.gets("/users", 12345678901234567890)
    users.blur()
    hands.bridge.settle()
    assert users.input_value() == "12345678901234567890"
    users.fill("7")
    users.press("ArrowUp")
    users.press("Shift+ArrowUp")
    hands.gets("/users", 18)
    users.press("ArrowDown")
    users.blur()
    hands.gets("/users", 17)
    ratio = hands.field("Ratio")
    ratio.focus()
    ratio.press("ArrowUp")
    hands.gets("/ratio", 0.25)
    ratio.fill("")
    ratio.blur()
    eventually(lambda: "ratio" not in hands.value)


def test_a_default_is_shown_and_gone_back_to(hands: Hands) -> None:
    users = hands.field("Users")
    assert (users.input_value(), users.get_attribute("placeholder")) == ("", "10")
    users.fill("50")
    hands.gets("/users", 50)
    hands.press("Reset to default (10): Users")
    assert "users" not in hands.value
    assert users.input_value() == ""
