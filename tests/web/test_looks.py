"""The scanner's page for every eye and hand: contrast, words beside colours, targets, motion."""

from typing import Any
from uuid import uuid4

import pytest

from tests.shop import Shop
from tests.web.phone import Phone, Phones

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONTRAST_MIN = 4.5  # WCAG 2.2, 1.4.3 (AA)
TARGET_MIN = 48  # CSS pixels, twice what 2.5.8 asks

# [ratio, text] of every element that is seen and has text of its own, by WCAG's formula.
_CONTRASTS = """() => {
    const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const parse = (text) => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return { r, g, b, a };
    };
    const over = (top, below) => Object.fromEntries(
        ["r", "g", "b"].map((c) => [c, top[c] * top.a + below[c] * (1 - top.a)]));
    const light = ({ r, g, b }) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (element) => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) {
            layers.unshift(parse(getComputedStyle(e).backgroundColor));
        }
        return layers.reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255 });
    };
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        const valued = element instanceof HTMLInputElement && element.value;
        if (!(own || valued) || !element.checkVisibility() || element.closest(".spoken")) continue;
        const below = ground(element), ink = over(parse(getComputedStyle(element).color), below);
        const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
        found.push([(a + 0.05) / (b + 0.05), element.textContent.trim() || element.value]);
    }
    return found;
}"""
_TARGETS = """() => [...document.querySelectorAll("button, input, select")]
    .filter((e) => e.checkVisibility())
    .map((e) => [Math.min(e.offsetWidth, e.offsetHeight), e.id || e.textContent])"""


async def look(phone: Phone) -> None:
    """Everything that is on the screen can be read and hit, and has a name."""
    contrasts: list[Any] = await phone.page.evaluate(_CONTRASTS)
    assert contrasts
    assert not [(ratio, text) for ratio, text in contrasts if ratio < CONTRAST_MIN]
    targets: list[Any] = await phone.page.evaluate(_TARGETS)
    assert not [(size, name) for size, name in targets if size < TARGET_MIN]


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_all_text_stands_out_and_all_targets_are_large(
    phones: Phones, shop: Shop, theme: str
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first, second = (await shop.bought(event_id, tier_id, 2))["tickets"]
    phone = await phones.new()
    await phone.context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    await phone.open("#AAAA-BBBB-CCCC-DDDD")
    await look(phone)
    await phone.page.click("#enrol-form button")
    await phone.page.wait_for_selector("#enrol-error:not(:empty)")
    await look(phone)
    await phone.enrol(shop, event_id, profile="supervisor")
    assert await phone.page.get_attribute("html", "data-theme") == theme
    await look(phone)
    for token in (first["token"], first["token"], str(uuid4())):
        await phone.scan(token)
        await look(phone)
    await phone.page.click("#next")
    await phone.page.click("#more")
    await look(phone)
    await phone.page.click("text=Last scans")
    await look(phone)
    await phone.page.click("#sheet-close")
    await phone.cut()
    await phone.scan(second["token"])
    await look(phone)
    await phone.page.click("#next")
    await look(phone)


async def test_a_verdict_is_told_by_word_shape_and_voice_too(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await phone.enrol(shop, event_id)
    shapes = set()
    for token, spoken in (
        (ticket["token"], "Come in. GENERAL"),
        (ticket["token"], "Already in. in since"),
        (str(uuid4()), "Stop. Not a ticket of this event"),
    ):
        await phone.scan(token)
        shapes.add(await phone.page.get_attribute("#verdict-shape", "d"))
        assert (await phone.page.text_content("#spoken") or "").startswith(spoken)
        assert await phone.page.get_attribute("#spoken", "aria-live") == "assertive"
        assert await phone.page.evaluate("document.activeElement.id") == "next"
    assert len(shapes) == 3


async def test_nothing_moves_for_those_who_asked_so(phones: Phones) -> None:
    phone = await phones.new(reduced_motion="reduce")
    await phone.open()
    moving = "document.body.classList.add('asking'), document.getAnimations().length"
    assert await phone.page.evaluate(moving) == 0
    await phone.page.emulate_media(reduced_motion="no-preference")
    assert await phone.page.evaluate("document.getAnimations().length") == 1
