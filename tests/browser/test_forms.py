"""A form under somebody's hands: each kind typed into, and what the model made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from bkg_workbench.protocol.forms import Form
from bkg_workbench.widgets.forms import FormWidget
from tests.browser.form_hands import SCHEMA, VALUE, Hands
from tests.browser.form_page import Bridge
from tests.helpers import eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


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


def test_composed_letters_are_sent_when_they_are_there(hands: Hands) -> None:
    name = hands.field("Name")
    name.focus()
    name.evaluate(
        """(input) => {
          input.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
          input.value = "ga";
          input.dispatchEvent(new InputEvent("input", { bubbles: true, isComposing: true }));
        }"""
    )
    hands.page.wait_for_timeout(250)  # longer than the pause after which typing is sent
    assert hands.value["name"] == "goose"
    name.evaluate(
        """(input) => {
          input.value = "がぎ";
          input.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true }));
        }"""
    )
    hands.gets("/name", "がぎ")


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


def test_choices_and_switches(hands: Hands) -> None:
    hands.page.get_by_role("radio", name="ramp").check()
    hands.gets("/mode", "ramp")
    hands.field("Region").select_option(label="c3")
    hands.gets("/region", "c3")
    hands.field("Region").select_option(label="not set")
    eventually(lambda: "region" not in hands.value)
    switch = hands.page.get_by_role("switch", name="On")
    switch.focus()
    switch.press("Space")
    hands.gets("/on", True)
    switch.press("Space")
    hands.gets("/on", False)
    hands.press("Clear: not set: On")
    assert "on" not in hands.value


def test_null_is_set_and_typed_over(hands: Hands) -> None:
    hands.press("Set Note to null")
    assert hands.value["note"] is None
    note = hands.field("Note")
    assert note.get_attribute("placeholder") == "null"
    note.fill("hm")
    hands.gets("/note", "hm")
    note.fill("")
    hands.gets("/note", "")
    hands.press("Clear: not set: Note")
    assert "note" not in hands.value


def test_a_text_of_several_lines_gets_room(hands: Hands) -> None:
    note = hands.field("Note")
    note.fill("one")
    note.press("Shift+Enter")
    hands.page.locator("textarea:focus").press_sequentially("two")
    hands.gets("/note", "one\ntwo")
    assert hands.field("Note").evaluate("(control) => control.tagName") == "TEXTAREA"


def test_a_secret_is_never_shown_and_stays_unless_it_is_typed_over(hands: Hands) -> None:
    token = hands.field("Token")
    assert token.get_attribute("type") == "password"
    assert "unchanged" in (token.get_attribute("placeholder") or "")
    token.fill("hunter2")
    hands.gets("/token", "hunter2")
    assert "hunter2" not in repr(hands.widget.shown)
    hands.press("Show Token")
    assert token.get_attribute("type") == "text"
    hands.press("Undo")
    assert hands.value["token"] == "***"
    eventually(lambda: token.input_value() == "")
    hands.press("Clear: not set: Token")
    assert "token" not in hands.value


def test_items_are_added_removed_and_moved_with_buttons_and_keys(hands: Hands) -> None:
    labels = hands.page.locator('.bkg-f-section[aria-label="Labels"]')
    labels.get_by_role("button", name="Add").click()
    eventually(lambda: hands.focused() == "/labels/3")
    hands.page.keyboard.type("d")
    hands.gets("/labels", ["a", "b", "c", "d"])
    hands.press("Move Labels 1 down")
    assert hands.value["labels"] == ["b", "a", "c", "d"]
    hands.field("Labels 4").focus()
    hands.page.keyboard.press("Alt+ArrowUp")
    hands.gets("/labels", ["b", "a", "d", "c"])
    eventually(lambda: hands.focused() == "/labels/2")
    hands.page.keyboard.press("Alt+ArrowUp")
    hands.gets("/labels", ["b", "d", "a", "c"])
    hands.press("Remove Labels 2")
    assert hands.value["labels"] == ["b", "a", "c"]
    eventually(lambda: hands.focused() == "/labels/1!remove")


def test_flat_objects_are_a_table(hands: Hands) -> None:
    table = hands.page.get_by_role("table", name="Steps")
    assert table.locator("tbody tr").count() == 3
    hands.field("N, Steps 2").fill("20")
    hands.gets("/steps/1/n", 20)
    hands.field("N, Steps 2").fill("x")
    table.get_by_text("must be a whole number").wait_for()
    hands.field("N, Steps 2").fill("21")
    hands.page.keyboard.press("Alt+ArrowUp")
    hands.gets("/steps", [{"n": 21}, {"n": 1}, {"n": 3}])
    hands.press("Remove Steps 3")
    hands.page.locator('.bkg-f-section[aria-label="Steps"]').get_by_role(
        "button", name="Add"
    ).click()
    eventually(lambda: len(hands.value["steps"]) == 3)
    assert table.locator("tbody tr[data-at]").count() == 3


def test_entries_of_a_map_are_added_renamed_and_removed(hands: Hands) -> None:
    new = hands.field("New key of Env")
    new.fill("home")
    hands.page.get_by_text("must have the form ^[A-Z]+$").wait_for()
    new.fill("PATH")
    hands.page.get_by_text("stands here already").wait_for()
    new.fill("HOME")
    new.press("Enter")
    hands.gets("/env/HOME", "")
    eventually(lambda: hands.focused() == "/env/HOME")
    hands.page.keyboard.type("/root")
    hands.gets("/env/HOME", "/root")
    key = hands.field("Key LANG of Env")
    key.fill("LOCALE")
    key.press("Tab")
    hands.gets("/env", {"PATH": "/bin", "LOCALE": "C", "HOME": "/root"})
    eventually(lambda: hands.focused() == "/env/LOCALE")
    hands.press("Remove PATH")
    assert list(hands.value["env"]) == ["LOCALE", "HOME"]


def test_a_form_is_chosen_among_several(hands: Hands) -> None:
    kind = hands.page.get_by_role("radiogroup", name="Kind of Engine")
    kind.get_by_role("radio", name="Local").check()
    hands.field("Path").fill("/models")
    hands.gets("/engine", {"path": "/models"})
    kind.get_by_role("radio", name="Remote").check()
    hands.page.get_by_role("textbox", name="Engine").fill("far away")
    hands.gets("/engine", "far away")


def test_groups_fold_and_tell_how_many_mistakes_lie_inside(hands: Hands) -> None:
    hands.field("Deep").fill("9")
    section = hands.page.locator('.bkg-f-section[aria-label="Inner"]')
    section.locator(".bkg-f-count").wait_for()
    section.locator(".bkg-f-toggle").click()
    assert hands.page.get_by_label("Deep", exact=True).count() == 0
    assert section.locator(".bkg-f-count").inner_text() == "1"
    section.locator(".bkg-f-toggle").press("Enter")
    assert hands.field("Deep").input_value() == "9"


def test_json_says_what_is_wrong_with_it_and_keeps_it(hands: Hands) -> None:
    field = hands.field("Anything")
    field.fill('{"x": 1, "y": [')
    hands.page.get_by_text("is not valid JSON").first.wait_for()
    field.blur()
    hands.bridge.settle()
    assert field.input_value() == '{"x": 1, "y": ['
    assert hands.value["any"] == {"x": 1}
    field.fill('{"x": 1, "y": [null]}')
    hands.gets("/any", {"x": 1, "y": [None]})


def test_other_keys_are_shown_edited_and_removed(hands: Hands) -> None:
    other = hands.page.get_by_role("group", name="Other keys")
    other.get_by_label("old", exact=True).fill('"newer"')
    hands.gets("/old", "newer")
    other.get_by_role("button", name="Remove old").click()
    eventually(lambda: "old" not in hands.value)


def test_what_is_read_only_cannot_be_typed_over(hands: Hands) -> None:
    assert hands.field("Fixed").get_attribute("readonly") is not None
    assert hands.page.get_by_role("button", name="Clear: not set: Fixed").count() == 0


def test_no_text_of_a_schema_or_value_is_markup(open_form: Callable[..., Hands]) -> None:
    evil = "<img src=x onerror=window.evil=1>"
    schema = {
        "title": evil,
        "type": "object",
        "properties": {
            "a": {"type": "string", "title": evil, "description": evil, "examples": [evil]},
            "b": {"enum": [evil, "b"], "title": evil, "default": evil},
            "c": {"type": "object", "title": evil, "additionalProperties": {"const": evil}},
        },
    }
    hands = open_form(schema, {"a": evil, "c": {evil: 1}, evil: evil})
    assert hands.page.locator("img").count() == 0
    assert hands.page.evaluate("window.evil") is None
    assert hands.page.get_by_text(evil, exact=True).count() >= 3


def test_a_hostile_schema_is_json_with_a_notice(open_form: Callable[..., Hands]) -> None:
    hands = open_form({"$ref": "http://beyond.example/schema.json"}, {"a": 1})
    notice = hands.page.get_by_role("note").inner_text()
    assert "No form can be made of this schema" in notice
    hands.page.locator("textarea").fill('{"a": 2}')
    hands.gets("/a", 2)


UNNAMED = """() => [...document.querySelectorAll(".bkg-form :is(input, select, textarea, button)")]
  .filter((one) => one.tabIndex >= 0 && !one.labels?.length)
  .filter((one) => !one.getAttribute("aria-label") && !one.textContent.trim())
  .map((one) => one.outerHTML)"""
FORCED = """() => [...document.querySelectorAll(".bkg-form [tabindex]")]
  .map((one) => one.tabIndex).filter((n) => n > 0)"""
IDS = "() => [...document.querySelectorAll('.bkg-form [id]')].map((one) => one.id)"
LOST = """() => [...document.querySelectorAll(".bkg-form [aria-describedby]")]
  .flatMap((one) => one.getAttribute("aria-describedby").split(" "))
  .filter((id) => !document.getElementById(id))"""


def test_every_control_has_a_name_and_stands_in_the_order_of_tabs(hands: Hands) -> None:
    hands.field("Name").fill("x")
    hands.bridge.settle()
    assert hands.page.evaluate(UNNAMED) == []
    assert hands.page.evaluate(FORCED) == []
    ids = hands.page.evaluate(IDS)
    assert len(ids) == len(set(ids))
    assert hands.page.evaluate(LOST) == []


WATCH = """() => {
  window.touched = new Set();
  const seen = { subtree: true, childList: true, attributes: true, characterData: true };
  new MutationObserver((found) => found.forEach(({ target }) => {
    const row = target.parentElement?.closest("tr[data-at]");
    if (row) window.touched.add(row.dataset.at);
  })).observe(document.querySelector(".bkg-f-table"), seen);
}"""


def test_a_table_of_a_hundred_rows_redraws_only_what_changed(
    open_form: Callable[..., Hands],
) -> None:
    row = {"n": 1, "t": "x"}
    hands = open_form(value={"name": "goose", "steps": [row] * 100})
    assert hands.page.locator(".bkg-f-table tbody tr").count() == 100
    hands.page.evaluate(WATCH)
    hands.field("N, Steps 50").fill("77")
    hands.gets("/steps/49/n", 77)
    assert hands.page.evaluate("[...window.touched]") in ([], ["/steps/49"])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1280])
def test_it_fits_its_page(context: BrowserContext, theme: str, width: int) -> None:
    bridge = Bridge(context, FormWidget(Form(SCHEMA, VALUE)), theme=theme)
    bridge.page.set_viewport_size({"width": width, "height": 800})
    bridge.settle()
    assert bridge.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert bridge.errors == []
    bridge.close()
