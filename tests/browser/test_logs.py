"""The log view in a real browser: floods, a long list, filters, copies, files, the link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser

from tests.browser.logpage import LogPage, log_page
from tests.helpers import eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

FILTER = ".bkg-log-filter"


def press(page: LogPage, label: str) -> None:
    """Press a button of the log by its label."""
    page.page.get_by_role("button", name=label, exact=True).click()


def test_ten_thousand_lines_a_second_leave_the_page_alive_and_are_all_accounted_for(
    browser: Browser,
) -> None:
    with log_page(browser, lines=20_000) as log:
        log.begin([])
        log.page.evaluate(
            """() => {
                window.flood = { sent: 0, clicks: [], beats: 0 };
                document.getElementById("other").onclick = () => flood.clicks.push(flood.sent);
                const timer = setInterval(() => {
                    const rows = Array.from({length: 1000}, (_, n) => [flood.sent + n + 1,
                        Date.now(), "goose", "stdout", "info", `line ${flood.sent + n}`]);
                    // Each tenth batch is lost on its way.
                    flood.sent += 1000;
                    const lost = flood.sent % 10000 === 0;
                    deliver({kind: "batch", said: {goose: [flood.sent, flood.sent, 1]}},
                        lost ? [] : rows);
                    if (flood.sent >= 150000) clearInterval(timer);
                }, 100);
            }"""
        )
        clicks = 0
        while log.page.evaluate("flood.sent") < 150_000:
            log.page.locator("#other").click()
            clicks += 1
        log.passed(log.figures()["passed"])
        seen = log.page.evaluate("flood.clicks")
        assert len(seen) == clicks
        assert len(set(seen)) > 15, "clicks were answered only after the flood"
        log.frame()
        figures = log.figures()
        assert figures["received"] == 150_000
        assert figures["dropped"] == 15_000
        assert figures["shown"] == 135_000
        kept = log.page.evaluate("document.querySelectorAll('.bkg-line').length")
        assert kept < 100
        assert figures["passed"] <= 21_000
        assert log.lines()[-1] == "– 1,000 lines are not shown here –"


@pytest.mark.parametrize("wrap", [False, True], ids=["unwrapped", "wrapped"])
def test_any_place_of_100_000_lines_shows_its_lines_in_order(browser: Browser, wrap: bool) -> None:
    with log_page(browser) as log:
        log.fill(100_000, length=80 if wrap else 0)
        if wrap:
            press(log, "Wrap")
        log.passed(100_000)
        for share in (0.5, 0.123, 0.999, 0.0, 0.77):
            whole = log.page.evaluate("document.querySelector('.bkg-log-lines').scrollHeight")
            assert whole < 16_000_000
            log.scroll(share * whole)

            def there(share: float = share) -> list[int]:
                numbers = [int(line.split()[1]) for line in log.lines()]
                off = abs(numbers[0] - min(share * 100_000, 100_000 - len(numbers)))
                assert off < (2_000 if wrap else 2)
                return numbers

            numbers = eventually(there)
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        box = log.page.locator(".bkg-log-lines")
        box.press("Home")
        log.frame()
        assert log.lines()[0].startswith("line 0")
        box.press("End")
        log.frame()
        assert log.lines()[-1].startswith("line 99999")


def test_wheeling_through_wrapped_lines_skips_none(browser: Browser) -> None:
    with log_page(browser) as log:
        log.fill(5_000, length=150)
        press(log, "Wrap")
        log.page.locator(".bkg-log-lines").hover()
        last = int(log.lines()[0].split()[1])
        for _ in range(40):
            log.page.mouse.wheel(0, -300)
            log.frame()
            numbers = [int(line.split()[1]) for line in log.lines()]
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
            assert numbers[0] <= last
            assert numbers[-1] >= last - 1
            last = numbers[0]
        assert last < 4_960


def test_what_is_looked_at_stays_in_place_while_lines_come_and_old_ones_go(
    browser: Browser,
) -> None:
    with log_page(browser, lines=1_000) as log:
        log.fill(1_000)
        log.page.locator(".bkg-log-lines").hover()
        log.page.mouse.wheel(0, -600)
        log.page.get_by_role("button", name="Resume").wait_for()
        log.frame()
        before = log.lines()
        for n in range(5):
            log.batch(log.records(*(f"new {n}" for n in range(n * 100, n * 100 + 100))))
            log.frame()
        assert log.lines() == before
        log.page.get_by_text("500 new lines").click()
        log.frame()
        assert log.lines()[-1] == "new 499"
        log.page.get_by_role("button", name="Pause").wait_for()


def test_scrolling_to_the_end_resumes(browser: Browser) -> None:
    with log_page(browser) as log:
        log.fill(500)
        box = log.page.locator(".bkg-log-lines")
        box.hover()
        log.page.mouse.wheel(0, -400)
        log.page.get_by_role("button", name="Resume").wait_for()
        log.page.mouse.wheel(0, 1_000)
        log.page.get_by_role("button", name="Pause").wait_for()
        log.batch(log.records("the newest"))
        log.frame()
        assert log.lines()[-1] == "the newest"


def test_texts_expressions_levels_and_sources_filter_together(browser: Browser) -> None:
    with log_page(browser) as log:
        log.fill(60_000)
        log.page.locator(FILTER).fill("LINE 77")
        log.passed(111)
        press(log, ".*")
        log.page.locator(FILTER).fill(r"line 7+$")
        log.passed(4)
        log.frame()
        assert log.lines() == ["line 7", "line 77", "line 777", "line 7777"]
        log.page.locator(".bkg-log-level").select_option("warn")
        log.page.locator(FILTER).fill(r"^line \d{3}$")
        log.passed(300)
        log.page.locator(".bkg-log-source").select_option("stderr")
        log.passed(60)
        log.page.locator(FILTER).press("Escape")
        log.passed(4_000)
        assert log.figures()["received"] == 60_000


def test_highlighting_keeps_the_other_lines_and_goes_from_match_to_match(
    browser: Browser,
) -> None:
    with log_page(browser) as log:
        log.fill(10_000)
        press(log, "highlight")
        log.page.locator(FILTER).fill("line 5000")
        log.passed(1)
        assert "line 9999" in log.lines()
        log.page.locator(FILTER).press("Enter")
        log.page.locator("mark", has_text="line 5000").wait_for()
        assert "line 4999" in log.lines()
        assert log.page.locator(".bkg-chosen .bkg-line-message").inner_text() == "line 5000"


def test_an_expression_that_is_none_is_said_to_be_so(browser: Browser) -> None:
    with log_page(browser) as log:
        log.fill(100)
        press(log, ".*")
        log.page.locator(FILTER).fill("line (")
        log.page.get_by_role("status").filter(has_text="Not a regular expression").wait_for()
        log.passed(100)
        log.page.locator(FILTER).fill("line 9")
        log.passed(11)
        assert log.page.get_by_role("status").inner_text() == ""


def test_an_expression_that_runs_away_is_stopped_and_the_page_answers_meanwhile(
    browser: Browser,
) -> None:
    with log_page(browser) as log:
        log.begin(log.records("before", "a" * 60 + "!", "after"))
        log.page.evaluate("""() => {
            window.beats = 0;
            setInterval(() => { beats += 1; }, 20);
        }""")
        press(log, ".*")
        log.page.locator(FILTER).fill("(a+)+$")
        log.page.get_by_role("status").filter(has_text="takes too long").wait_for()
        assert log.page.evaluate("beats") > 10
        log.passed(3)
        log.batch(log.records("later"))
        log.passed(4)


def test_copies_are_of_a_line_of_chosen_lines_and_of_all_that_pass(browser: Browser) -> None:
    with log_page(browser) as log:
        log.begin(log.records(*(f"line {n}" for n in range(10))))
        read = "navigator.clipboard.readText()"
        row = log.page.locator(".bkg-line")
        row.filter(has_text="line 4").click()
        press(log, "Copy line")
        log.page.get_by_role("status").filter(has_text="copied").wait_for()
        copied = log.page.evaluate(read)
        assert copied.endswith("info  goose stdout line 4\n")
        assert copied.startswith("2026-")
        row.filter(has_text="line 6").click(modifiers=["Shift"])
        press(log, "Copy")
        log.page.get_by_role("status").filter(has_text="3 lines copied").wait_for()
        assert [one[-6:] for one in log.page.evaluate(read).splitlines()] == [
            "line 4",
            "line 5",
            "line 6",
        ]
        log.page.locator(".bkg-log-lines").press("Escape")
        log.page.locator(FILTER).fill("line")
        log.passed(10)
        press(log, "Copy")
        log.page.get_by_role("status").filter(has_text="10 lines copied").wait_for()
        assert len(log.page.evaluate(read).splitlines()) == 10
        row.filter(has_text="line 2").click()
        log.page.keyboard.press("Control+c")
        log.page.get_by_role("status").filter(has_text="1 line copied").wait_for()
        assert log.page.evaluate(read).endswith("line 2\n")


def test_a_click_shows_a_line_in_full_and_the_keyboard_goes_on(browser: Browser) -> None:
    with log_page(browser) as log:
        log.begin(log.records("short", "x" * 5_000 + "END", "last"))
        log.page.locator(".bkg-line").nth(1).click()
        detail = log.page.get_by_role("region", name="Line")
        assert detail.locator("pre").inner_text().endswith("END")
        log.page.keyboard.press("ArrowDown")
        assert detail.locator("pre").inner_text() == "last"
        log.page.keyboard.press("ArrowUp")
        log.page.keyboard.press("ArrowUp")
        assert detail.locator("pre").inner_text() == "short"
        log.page.keyboard.press("Escape")
        assert detail.is_hidden()
        log.page.keyboard.press("/")
        assert log.page.evaluate("document.activeElement.className") == "bkg-log-filter"
        assert log.page.locator(FILTER).input_value() == ""


def answer_download(log: LogPage, records: list[dict[str, Any]], piece: int) -> list[Any]:
    """Answer a download's questions as the kernel does; gives what was asked."""
    asked: list[Any] = []
    done = False
    while not done:
        log.page.wait_for_function("model.sent.some((one) => one.kind === 'piece')")
        [question] = log.asked("piece")
        asked.append(question)
        found = [r for r in records if r["seq"] > question["after"]][:piece]
        last = found[-1]["seq"] if found else question["after"]
        done = last >= len(records)
        head = {"kind": "piece", "token": question["token"], "next": last, "first": 1}
        log.deliver({**head, "until": len(records), "done": done, "behind": False}, found)
    return asked


@pytest.mark.parametrize("form", ["log", "jsonl"])
def test_a_download_has_all_that_matches_on_the_host(
    browser: Browser, form: str, tmp_path: Path
) -> None:
    fields = {"plugin": "goose", "source": "stdout", "level": "info"}
    records = [
        {"seq": n, "at": 1_790_000_000_000 + n, **fields, "message": f"line {n}"}
        for n in range(1, 2_001)
    ]
    with log_page(browser, only="goose") as log:
        log.begin(log.records("the page keeps only this"))
        press(log, ".*")
        log.page.locator(FILTER).fill("line .*7$")
        log.passed(0)
        log.page.locator(".bkg-log-level").select_option("info")
        with log.page.expect_download() as waiting:
            log.page.locator(".bkg-log-save").select_option(form)
            asked = answer_download(log, records, 300)
        path = tmp_path / "saved"
        waiting.value.save_as(path)
        lines = path.read_text().splitlines()
    assert len(asked) == 7
    assert asked[0]["filters"] == {"level": "info", "source": "", "plugin": ""}
    assert len(lines) == 200
    assert waiting.value.suggested_filename.endswith(f".{form}")
    if form == "jsonl":
        assert json.loads(lines[0]) == records[6]
    else:
        assert lines[0] == "2026-09-21T14:13:20.007Z info  goose stdout line 7"


def test_a_download_can_be_cancelled(browser: Browser) -> None:
    with log_page(browser) as log:
        log.begin(log.records("one"))
        log.page.locator(".bkg-log-save").select_option("log")
        [question] = log.asked("piece")
        press(log, "Cancel")
        log.deliver({"kind": "piece", "token": question["token"], "next": 1, "until": 9}, [])
        log.frame()
        assert log.asked("piece") == []
        assert "cancelled" in log.page.get_by_role("status").inner_text()


def test_the_filter_is_kept_in_a_dashboards_link_and_restored_from_it(browser: Browser) -> None:
    with log_page(browser, dashboard=True, query="?name=goose", names=["goose"]) as log:
        log.fill(600)
        log.page.locator(FILTER).fill("line 1")
        log.page.locator(".bkg-log-level").select_option("warn")
        press(log, "Wrap")
        log.page.wait_for_function("location.search.includes('log-wrap')")
        kept = parse_qs(urlsplit(log.page.url).query)
    assert kept == {
        "name": ["goose"],
        "log-text": ["line 1"],
        "log-level": ["warn"],
        "log-wrap": ["1"],
    }
    query = "?log-text=line+5..&log-regex=1&log-level=error&log-plugin=goose&log-mode=highlight"
    with log_page(browser, dashboard=True, query=query) as log:
        log.fill(600)
        log.passed(17)
        assert log.page.locator(".bkg-log-plugin").input_value() == "goose"


def test_a_notebooks_address_is_left_alone(browser: Browser) -> None:
    with log_page(browser, query="?log-text=nothing") as log:
        log.fill(600)
        log.passed(600)
        log.page.locator(FILTER).fill("line 1")
        log.passed(111)
        assert urlsplit(log.page.url).query == "log-text=nothing"


def test_older_lines_come_by_scrolling_to_the_top_and_nothing_moves(browser: Browser) -> None:
    with log_page(browser) as log:
        log.seq = 5_000
        log.begin(log.records(*(f"line {n}" for n in range(5_000, 5_200))), whole=False)
        log.page.locator(".bkg-log-lines").press("Home")
        log.page.get_by_role("button", name="Lines before").wait_for()
        log.page.locator(".bkg-log-lines").hover()
        log.page.mouse.wheel(0, 200)
        log.frame()
        log.page.mouse.wheel(0, -400)
        log.page.wait_for_function("model.sent.some((one) => one.kind === 'older')")
        [asked] = log.asked("older")
        assert asked["before"] == 5_001
        top = log.lines()[0]
        log.seq = 3_000
        older = log.records(*(f"line {n}" for n in range(3_000, 5_000)))
        log.deliver({"kind": "older", "token": asked["token"], "whole": True}, older)
        log.passed(2_200)
        log.frame()
        assert log.lines()[0] == top
        assert log.figures()["received"] == log.figures()["shown"] == 2_200
        log.page.locator(".bkg-log-lines").press("Home")
        log.frame()
        assert log.lines()[0] == "line 3000"
        assert log.page.get_by_role("button", name="Lines before").is_hidden()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_of_the_log_stands_out_from_its_ground(browser: Browser, dark: bool) -> None:
    with log_page(browser, dark=dark) as log:
        for level in ("debug", "info", "warn", "error"):
            log.batch(log.records(f"a line of {level}", level=level)) if log.seq else log.begin(
                log.records(f"a line of {level}", level=level)
            )
        log.page.locator(FILTER).fill("line")
        press(log, "highlight")
        log.page.locator("mark").first.wait_for()
        log.page.locator(".bkg-line").nth(1).click()
        found = log.page.evaluate(CONTRASTS)
        assert len(found) > 20
        assert [one for one in found if one["ratio"] < 4.5] == []


CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const over = (colours) => {
        canvas.fillStyle = "#fff";
        canvas.fillRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const node of document.querySelectorAll(".bkg-log *")) {
        const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
        if (!own || !node.offsetParent || node.tagName === "OPTION") continue;
        const grounds = [];
        for (let one = node; one; one = one.parentElement) {
            grounds.unshift(getComputedStyle(one).backgroundColor);
        }
        const ink = getComputedStyle(node).color;
        const [a, b] = [light(over(grounds)), light(over([...grounds, ink]))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        found.push({ text: node.textContent.slice(0, 30), name: node.className, ratio });
    }
    return found;
}"""
