"""
The distribution's Chromium, driven by Playwright.

Promises: it reaches this machine and nothing else, whatever a page asks for; and everything that
goes wrong on a page is kept: a script that fails, an error on the console, a request that fails or
is refused, a request to elsewhere. A test ends by looking whether there is any.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)

#: What has to happen in a page has happened within this, or never will, ms.
WITHIN_MS = 60_000
HERE = "127.0.0.1"
#: A desk and a telephone, px.
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SERIOUS = ("serious", "critical")
_AXE = Axe().axe_script
#: The rules of axe-core that look at colours.
COLOURS_ALONE = ("color-contrast", "link-in-text-block")


def program() -> str:
    """Return the browser; where there is none, the test says so."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not here; `python3 deploy/stack.py tools` says how it comes")
    return found


class Look(NamedTuple):
    """How somebody looks at the pages."""

    language: str = "zh"
    scheme: str = "light"
    is_phone: bool = False
    scripts: bool = True


@dataclass
class Tab:
    """A page in a tab, and what went wrong in it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)
    #: Answers with these statuses are what a test is about.
    expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WITHIN_MS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        # What an answer's status was is known from the answer.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        # A stream ends when its page does, a request for a page when another is asked for instead.
        if request.failure != "net::ERR_ABORTED":
            self.wrong.append(f"failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.wrong.append(f"{response.status}: {response.request.method} {response.url}")

    def open(self, path: str, *also: int) -> int:
        """Open *path*; return the status, which may be one of *also* instead of a good one."""
        self.expected |= set(also)
        answer = self.page.goto(self.url + path, wait_until="load")
        assert answer is not None, path
        return answer.status

    @property
    def title(self) -> str:
        return self.page.locator("h1").first.inner_text()

    def serious(self, *rules: str) -> list[str]:
        """What axe-core finds serious or critical on the page, rule and place; by some *rules*."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE)
        found = self.page.evaluate(
            "(only) => axe.run(document, { resultTypes: ['violations'], ...only })",
            {"runOnly": list(rules)} if rules else {},
        )
        return [
            f"{rule['id']}: {node['target'][0]} {node['failureSummary']}"
            for rule in found["violations"]
            if rule["impact"] in _SERIOUS
            for node in rule["nodes"]
        ]


class Chromium:
    """One browser; each look of each person has a context of its own in it."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self._contexts: dict[Any, BrowserContext] = {}
        #: Requests to anywhere but this machine; the browser finds no such place.
        self.left: list[str] = []

    def tab(self, url: str, session: str | None, look: Look, *, apart: bool = False) -> Tab:
        """Return a new tab; *apart* in a context of its own, with the same session."""
        key = (url, session, look)
        if apart or key not in self._contexts:
            context = self._context(url, session, look)
            if not apart:
                self._contexts[key] = context
        else:
            context = self._contexts[key]
        return Tab(context.new_page(), url)

    def _context(self, url: str, session: str | None, look: Look) -> BrowserContext:
        context = self.browser.new_context(
            viewport=PHONE if look.is_phone else DESK,
            is_mobile=look.is_phone,
            has_touch=look.is_phone,
            color_scheme=look.scheme,
            java_script_enabled=look.scripts,
            locale="zh-CN",
            timezone_id="America/New_York",  # nobody's zone but the reader's own
        )
        context.on("request", self._asks)
        cookies = {"language": look.language} | ({"orderflow": session} if session else {})
        context.add_cookies([{"name": n, "value": v, "url": url} for n, v in cookies.items()])
        return context

    def _asks(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.hostname != HERE and parts.scheme not in ("data", "about"):
            self.left.append(request.url)


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start the browser, and end it."""
    executable = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            # The sandbox of Chromium refuses to be started by root.
            chromium_sandbox=os.geteuid() != 0,
            args=[f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HERE}", "--no-proxy-server"],
        )
        try:
            yield Chromium(browser)
        finally:
            browser.close()
