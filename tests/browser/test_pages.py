"""The pages in a real browser: everybody can read them, whatever their screen, eyes, language or printer; and nothing in them runs.

To look at them: `PICTURES=/tmp/pictures make test-archive PYTEST_ARGS=tests/browser` keeps a picture of each.
"""

from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from services.transcript.pages.reading import MESSAGES_SHOWN_MAX
from services.transcript.pages.wording import WORDS
from tests.browser.conftest import Opened
from tests.browser.site import (
    ARABIC,
    CHATS,
    EMOJI,
    HEBREW,
    HOSTILE,
    LONG_WORD,
    QUESTIONS,
    TALKS,
    VISITORS,
    Site,
)

pytestmark = pytest.mark.archive

TOLD = ("expired", "revoked", "erased", "invalid", "absent", "nothing")
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
PHONE, DESK, NARROWEST = 375, 1280, 320
RULES = {
    "runOnly": [f"wcag{version}{level}" for version in ("2", "21", "22") for level in ("a", "aa")]
    + ["best-practice"]
}
"""What axe looks for: WCAG 2.2, A and AA, and what its authors recommend."""
AT_TOP = """async () => {
    while (scrollY > 0 && performance.now() < 60_000) await new Promise(requestAnimationFrame);
    return scrollY === 0;
}"""
"""Whether the page comes to stand at its top within a minute of its opening."""
OPEN_LIMIT_MS = 15_000
"""For the longest page, on a slow machine."""
OVERFLOW = """() => [...document.querySelectorAll('body, body *')]
    .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5 || each.scrollWidth > each.clientWidth + 1)
    .filter(each => getComputedStyle(each).display !== 'inline')
    .map(each => each.outerHTML.slice(0, 80))"""
CONTRASTS = """() => {
    const lightness = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).slice(0, 3)
            .map(part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = each => {
        const colour = getComputedStyle(each).backgroundColor;
        return colour === 'rgba(0, 0, 0, 0)' ? ground(each.parentElement) : colour;
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = new Set();
    while (texts.nextNode()) if (texts.currentNode.data.trim()) found.add(texts.currentNode.parentElement);
    return [...found].filter(each => each.getClientRects().length).map(each => {
        const [light, dark] = [getComputedStyle(each).color, ground(each)].map(lightness).sort((a, b) => b - a);
        return [(light + 0.05) / (dark + 0.05), each.outerHTML.slice(0, 80)];
    });
}"""
"""Each text's contrast, after WCAG 2.2, 1.4.3."""
CONTRAST_MIN = 4.5


def keep(page: Page, pictures: Path | None, name: str) -> None:
    if pictures is not None:
        page.screenshot(path=pictures / f"{name}.png", full_page=True)


def found_by_axe(page: Page) -> list[str]:
    results: dict[str, Any] = Axe().run(page, options=RULES).response
    assert len(results["passes"]) > 10, "it has looked"
    unsure = [each for each in results["incomplete"] if each["id"] == "color-contrast"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in results["violations"] + unsure
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("chat", CHATS)
def test_everybody_can_read_a_chat(
    opened: Opened, site: Site, chat: str, width: int, scheme: Scheme, pictures: Path | None
) -> None:
    page = opened(site.page(chat), width=width, color_scheme=scheme)
    keep(page, pictures, f"{chat}-{width}-{scheme}")
    assert found_by_axe(page) == []
    assert [each for each in page.evaluate(CONTRASTS) if each[0] < CONTRAST_MIN] == []
    assert page.evaluate(OVERFLOW) == []


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("what", TOLD)
def test_everybody_can_read_why_there_is_no_chat(
    opened: Opened, site: Site, what: str, language: Literal["ja", "en"], pictures: Path | None
) -> None:
    for scheme in SCHEMES:
        page = opened(site.told[what], width=PHONE, color_scheme=scheme, locale=f"{language}-JP")
        keep(page, pictures, f"told-{what}-{language}-{scheme}")
        assert page.locator("html").get_attribute("lang") == language
        assert page.locator("h1").inner_text() == WORDS[language][f"{what}_title"]
        assert page.locator("p").inner_text() == WORDS[language][f"{what}_text"]
        assert found_by_axe(page) == []


def test_what_the_tests_look_with_sees_what_is_wrong(opened: Opened, site: Site) -> None:
    page = opened(site.page("handled-en"), width=NARROWEST)
    page.evaluate("document.documentElement.lang = ''")
    page.evaluate("document.querySelector('.who').style = 'color: #aaa; background: #fff'")
    page.evaluate("document.querySelector('dd').style = 'width: 400px'")
    assert {each.partition(":")[0] for each in found_by_axe(page)} == {"html-has-lang", "color-contrast"}
    assert min(each[0] for each in page.evaluate(CONTRASTS)) < CONTRAST_MIN
    assert page.evaluate(OVERFLOW)


@pytest.mark.parametrize("chat", CHATS)
def test_nothing_has_to_be_scrolled_sideways(
    opened: Opened, site: Site, large_print: Browser, chat: str, pictures: Path | None
) -> None:
    """At 320 pixels, which is 1280 at 400 % (WCAG 2.2, 1.4.10), and with text of double size (1.4.4)."""
    assert opened(site.page(chat), width=NARROWEST).evaluate(OVERFLOW) == []
    for width in (NARROWEST, DESK):
        page = opened(site.page(chat), width=width, using=large_print)
        keep(page, pictures, f"{chat}-{width}-large")
        assert page.evaluate("getComputedStyle(document.body).fontSize") == "32px"
        assert page.evaluate(OVERFLOW) == []


@pytest.mark.parametrize("chat", CHATS)
def test_with_the_spacing_a_reader_chooses_nothing_is_lost(opened: Opened, site: Site, chat: str) -> None:
    """WCAG 2.2, 1.4.12."""
    page = opened(site.page(chat), width=NARROWEST)
    page.evaluate(
        "document.querySelectorAll('*').forEach(each => each.style = "
        "'line-height: 1.5; letter-spacing: .12em; word-spacing: .16em; margin-bottom: 2em')"
    )
    assert page.evaluate(OVERFLOW) == []


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_head_comes_first_and_the_headings_tell_the_rest(
    opened: Opened, site: Site, language: Literal["ja", "en"]
) -> None:
    w, visitor = WORDS[language], VISITORS[language]
    handled = opened(site.page(f"handled-{language}"))
    assert handled.locator("html").get_attribute("lang") == language
    head = handled.locator("header dl > div").all_inner_texts()
    started = "2026/11/21 18:00:00" if language == "ja" else "Nov 21, 2026, 6:00:00\u202fPM"
    assert [line.replace("\n\n", "\n") for line in head[:4]] == [
        f"{w['question']}\n{QUESTIONS[language]}",
        f"{w['started']}\n{started} (Asia/Tokyo)",
        f"{w['visitor']}\n{visitor.name}",
        f"{w['email']}\n{visitor.email}",
    ]
    assert handled.locator("main").count() == handled.locator("h1").count() == 1
    assert handled.locator("h2").all_inner_texts() == [w["summary"], w["conversation"]]
    assert handled.locator(".talk .text").all_inner_texts() == [text for _, text in TALKS[language]]
    missed = opened(site.page(f"missed-{language}"))
    sections = [w[name] for name in ("why_missed", "rule", "conversation", "replies")]
    assert missed.locator("h2").all_inner_texts() == sections
    for name in sections:
        assert missed.get_by_role("region", name=name, exact=True).count() == 1
    assert (
        missed.get_by_role("navigation", name=w["contents"]).get_by_role("link").all_inner_texts() == sections
    )


def test_the_keyboard_goes_through_the_page_from_top_to_bottom(opened: Opened, site: Site) -> None:
    page = opened(site.page("missed-en"), width=PHONE)
    names = page.get_by_role("link").all_inner_texts()
    seen = []
    for _ in names:
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert seen == names
    page.keyboard.press("Enter")
    section = page.get_by_role("region", name=names[-1])
    assert section.evaluate("each => scrollY > 0 && each.getBoundingClientRect().top < innerHeight")
    page.keyboard.press("Home")
    assert page.evaluate(AT_TOP)


def test_hostile_text_stays_text_and_nothing_runs(opened: Opened, site: Site) -> None:
    page = opened(site.page("hostile"))
    assert page.title().startswith(WORDS["ja"]["title_missed"])
    assert (
        page.locator("script, img, iframe, object, link, form, style[nonce], [onerror], [style]").count() == 0
    )
    said = page.locator("#conversation .text")
    texts = [said.nth(number).evaluate("each => each.textContent") for number in range(6)]
    assert texts[:5] == [HOSTILE, LONG_WORD, ARABIC, HEBREW, EMOJI]
    assert texts[5] == "a\tb\tc\n\n\nend"
    assert page.locator("header dd").nth(2).inner_text().startswith(HOSTILE[:20])


def test_each_text_runs_in_its_own_direction(opened: Opened, site: Site) -> None:
    page = opened(site.page("hostile"))
    said = page.locator("#conversation .text")
    directions = [
        said.nth(number).evaluate("each => getComputedStyle(each).direction") for number in range(5)
    ]
    assert directions == ["ltr", "ltr", "rtl", "rtl", "ltr"]
    for name_first in (page, opened(site.exported.as_uri())):
        name, at = (
            name_first.locator(".who")
            .filter(has_text=HOSTILE[:9])
            .first.evaluate(
                """each => ['b', 'time'].map(part => {
                const range = document.createRange();
                range.selectNodeContents(each.querySelector(part));
                return [...range.getClientRects()].at(-1).right;
            })"""
            )
        )
        assert name < at, "a name that turns the direction around leaves what follows it where it is"


@pytest.mark.parametrize("width", [NARROWEST, DESK])
def test_everybody_can_read_an_exported_file(
    opened: Opened, site: Site, width: int, pictures: Path | None
) -> None:
    page = opened(site.exported.as_uri(), width=width)
    keep(page, pictures, f"export-{width}")
    assert page.locator("article").count() == len(CHATS)
    assert found_by_axe(page) == []
    assert [each for each in page.evaluate(CONTRASTS) if each[0] < CONTRAST_MIN] == []
    assert page.evaluate(OVERFLOW) == []


def test_a_script_that_got_in_would_not_run(opened: Opened, site: Site, browser: Browser) -> None:
    """The policy is the second wall behind escaping; a browser that complains shows that it stands."""
    complaints: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(site.page("handled-ja"))
    assert complaints == []
    for made in (
        "Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'})",
        "Object.assign(document.createElement('img'), {src: 'data:,'})",
        "Object.assign(document.createElement('style'), {textContent: '*{color:red}'})",
    ):
        page.evaluate(f"document.body.append({made})")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") != "rgb(255, 0, 0)"
    context.close()
    assert len([each for each in complaints if "Content Security Policy" in each]) == 3


@pytest.mark.parametrize("chat", CHATS)
def test_it_prints_black_on_white_without_what_paper_cannot_do(
    opened: Opened, site: Site, chat: str, pictures: Path | None
) -> None:
    page = opened(site.page(chat), width=794, color_scheme="dark")  # A4 at 96 dots per inch
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.evaluate(OVERFLOW) == []
    assert [each for each in page.evaluate(CONTRASTS) if each[0] < CONTRAST_MIN] == []
    if pictures is not None:
        page.pdf(path=pictures / f"{chat}.pdf", format="A4")


def test_a_conversation_of_thousands_of_messages_opens(opened: Opened, site: Site) -> None:
    page = opened(site.page("long"), width=PHONE)
    assert page.locator(".talk li").count() == MESSAGES_SHOWN_MAX
    assert page.locator(".note").inner_text() == WORDS["ja"]["cut"].format(count=MESSAGES_SHOWN_MAX)
    took_ms = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    assert took_ms < OPEN_LIMIT_MS
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
