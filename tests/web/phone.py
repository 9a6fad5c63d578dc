"""A phone at the door, as whoever holds it sees it: the page in a context of its own."""

from pathlib import Path
from typing import Any

from msgspec import Struct
from playwright.async_api import Browser, BrowserContext, Page

from tests.gateway.test_devices import invited
from tests.shop import Shop
from tests.waiting import until
from tests.web import film

# What a hardware scanner does, in one go: a browser under load would be too slow at the keys.
_PRESS = """text => {
    const screen = document.getElementById("verdict");
    delete screen.dataset.ms;
    for (const key of [...text, "Enter"]) {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }
}"""
_READ = """() => {
    const screen = document.getElementById("verdict");
    if (screen.hidden || screen.dataset.ms === undefined) return null;
    const text = (id) => document.getElementById(id).textContent;
    return [
        screen.dataset.result, text("verdict-word"), text("verdict-why"), text("verdict-name"),
        text("verdict-tier"), text("verdict-where") !== "", Number(screen.dataset.ms),
    ];
}"""
_KEPT = """async () => {
    const found = [], names = (await indexedDB.databases()).map(({ name }) => name);
    for (const name of names) {
        const db = await new Promise((done) => {
            const asked = indexedDB.open(name);
            asked.onsuccess = () => done(asked.result);
        });
        for (const store of db.objectStoreNames) {
            found.push(...await new Promise((done) => {
                const asked = db.transaction(store).objectStore(store).getAll();
                asked.onsuccess = () => done(asked.result.map((row) => JSON.stringify(row)));
            }));
        }
        db.close();
    }
    return [found.join("\\n"), JSON.stringify(localStorage), (await caches.keys()).length];
}"""


# On a machine that is busy with other things an answer takes longer than a door crew would wait.
_PATIENT = """{
    const timer = window.setTimeout;
    window.setTimeout = (done, ms, ...more) => timer(done, ms === 1000 ? 20_000 : ms, ...more);
}"""

TOLD_MS_MAX = 60_000  # a server that was killed has to be back first


class Seen(Struct, frozen=True):
    """`ms`: from the frame, or the last key, to the picture."""

    result: str
    word: str
    why: str
    name: str
    tier: str
    offline: bool
    ms: float


class Kept(Struct, frozen=True):
    database: str
    preferences: str
    caches: int


class Phone:
    def __init__(self, context: BrowserContext, page: Page, url: str, film_path: Path) -> None:
        self.context = context
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self._film = film_path
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def open(self, fragment: str = "") -> None:
        await self.page.goto(f"{self.url}/door{fragment}")

    async def enrol(self, shop: Shop, event_id: str, **device: Any) -> dict[str, Any]:
        """Set up by a fresh code; the invitation."""
        invitation = await invited(shop, event_id, **device)
        await self.open(f"#{invitation['code']}")
        await self.page.click("#enrol-form button")
        await self.ready()
        return invitation

    async def ready(self) -> None:
        """At work, with the list of tickets."""
        await self.page.wait_for_selector("body[data-view=scan]")
        await self.until("document.getElementById('count-inside').textContent.match(/^[0-9]/)")

    async def scan(self, text: str) -> Seen:
        """By a hardware scanner."""
        await self.page.evaluate(_PRESS, text)
        return await self.seen()

    async def seen(self) -> Seen:
        return Seen(*await self.until(_READ))

    async def until(self, script: str) -> Any:
        """What the script gives, once it is something. (Playwright's own way of waiting would
        need the page to allow `eval`.)"""
        found: list[Any] = []

        async def asked() -> object:
            found[:] = [await self.page.evaluate(script)]
            return found[0]

        await until(asked)
        return found[0]

    async def point_at(self, text: str | None) -> None:
        """The camera shows this code from the page's next start on; None: nothing."""
        self._film.write_bytes(film.blank() if text is None else film.code(text))
        await self.page.reload()

    async def cut(self) -> None:
        """No network; the page hears of it only when it next asks for something."""
        await self.context.set_offline(True)

    async def mend(self) -> None:
        """The network is back, and the page has told all that waited."""
        await self.context.set_offline(False)
        await self.told()

    async def told(self) -> None:
        await self.page.wait_for_selector("#line:not(.down)", timeout=TOLD_MS_MAX)
        await self.shows("count-waiting", "0")

    async def shows(self, name: str, text: str) -> None:
        await self.until(f"document.getElementById('{name}').textContent === '{text}'")

    async def kept(self) -> Kept:
        return Kept(*await self.page.evaluate(_KEPT))

    async def text(self, selector: str) -> str:
        return (await self.page.inner_text(selector)).strip()


class Phones:
    """All of one test, closed with it; a page that threw has failed."""

    def __init__(self, browser: Browser, url: str, film_path: Path) -> None:
        self._browser = browser
        self._url = url
        self._film = film_path
        self._made: list[Phone] = []

    async def new(self, *, url: str | None = None, patient: bool = True, **more: Any) -> Phone:
        """`patient`: waits longer for the server than is right before it judges alone."""
        settings = {
            "locale": "en-US",
            "viewport": {"width": 390, "height": 844},
            "permissions": ["camera"],
            **more,
        }
        context = await self._browser.new_context(**settings)
        context.set_default_timeout(20_000)
        if patient:
            await context.add_init_script(_PATIENT)
        phone = Phone(context, await context.new_page(), url or self._url, self._film)
        self._made.append(phone)
        return phone

    async def close(self) -> None:
        for phone in self._made:
            await phone.page.unroute_all(behavior="ignoreErrors")
            await phone.context.close()
        assert not [error for phone in self._made for error in phone.errors]
