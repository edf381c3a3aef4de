"""`/docs` in a real browser: nothing is fetched from elsewhere, a key is taken, a task is submitted from the page."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.async_api import Page, async_playwright, expect

from tests.api.verbs import put_pool, register, until_status
from tests.support.service import Fleet

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = "YARD_TEST_SCREENSHOTS"
READ_SUMMARIES = """found => found.map(summary => [
    summary.querySelector(".opblock-summary-method").textContent,
    summary.querySelector("[data-path]").dataset.path,
])"""
WAIT_MS = 60_000
"""For each look at the page, on a machine that may have other work."""


def browser_path() -> str:
    """The installed browser; its absence is a failure, because this is how most users meet the service."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    assert found, "no Chromium: apt-get install chromium (or Google Chrome) to test /docs"
    return found[0]


@asynccontextmanager
async def page_of(url: str, requested: list[str], complaints: list[str]) -> AsyncIterator[Page]:
    """A page that notes every address it asks for, and everything that it complains about."""
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path(), args=flags)
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 1900})
            page.set_default_timeout(WAIT_MS)
            expect.set_options(timeout=WAIT_MS)
            page.on("request", lambda request: requested.append(request.url))
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(url)
            yield page
        finally:
            await browser.close()


async def operations_of(page: Page) -> set[tuple[str, str]]:
    """Every (method, path) on the way from the top of the page to its end: it draws only what is near the window."""
    found: set[tuple[str, str]] = set()
    while True:
        drawn = await page.eval_on_selector_all(".opblock-summary", READ_SUMMARIES)
        found |= {(method, path) for method, path in drawn}
        if await page.evaluate("window.scrollY + window.innerHeight >= document.body.scrollHeight - 1"):
            break
        await page.evaluate("window.scrollBy(0, window.innerHeight / 2)")
        await page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    await page.evaluate("window.scrollTo(0, 0)")
    return found


async def screenshot(page: Page, folder: Path, name: str) -> None:
    """Keep a picture of the page, for people to look at."""
    await page.screenshot(path=Path(os.environ.get(SCREENSHOTS, folder)) / f"{name}.png")


async def authorize(page: Page, key: str) -> None:
    await page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    await dialog.locator("input").fill(key)
    await dialog.get_by_role("button", name="Apply credentials").click()
    await expect(dialog.get_by_role("button", name="Remove authorization")).to_be_visible()
    await dialog.get_by_role("button", name="Close").last.click()


async def submit_from(page: Page, body: str) -> tuple[int, str]:
    """Open POST /v1/tasks, send `body`, and read the answer that the page shows."""
    operation = page.locator(".opblock", has=page.locator('[data-path="/v1/tasks"]')).filter(
        has=page.locator(".opblock-summary-method", has_text="POST")
    )
    await operation.locator(".opblock-summary-control").first.click()
    await operation.locator("textarea.body-param__text").fill(body)
    await operation.get_by_role("button", name="Execute").click()
    live = operation.locator(".live-responses-table .response").first
    await operation.scroll_into_view_if_needed()
    status = await live.locator(".response-col_status").inner_text()
    return int(status.split()[0]), await live.locator(".highlight-code").first.inner_text()


async def test_a_task_is_submitted_from_the_page(managers: Fleet, agents: Any, tmp_path: Path) -> None:
    agent = await agents()
    manager = await asyncio.to_thread(managers.manager)
    key = manager.backing.admin_key
    requested: list[str] = []
    complaints: list[str] = []
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=manager.url, headers=headers, timeout=30, trust_env=False) as client:
        await put_pool(client)
        await register(client, agent.url)
        async with page_of(manager.url + "/docs", requested, complaints) as page:
            await expect(page.locator(".info .title")).to_contain_text("Yardmaster")
            documented = (await client.get("/openapi.json")).json()["paths"]
            wanted = {(method.upper(), path) for path, methods in documented.items() for method in methods}
            assert await operations_of(page) == wanted
            await screenshot(page, tmp_path, "opened")
            await authorize(page, key)
            status, answer = await submit_from(page, '{"pool": "echo", "payload": {"from": "the page"}}')
            await screenshot(page, tmp_path, "submitted")
        assert status in (200, 202), answer
        listed = (await client.get("/v1/tasks")).json()["items"]
        assert len(listed) == 1
        assert listed[0]["id"] in answer
        task = await until_status(client, listed[0]["id"], "succeeded")
        assert task["payload"] == {"from": "the page"}
    sent = [url for url in requested if urlsplit(url).scheme not in ("data", "blob")]
    assert {urlsplit(url).netloc for url in sent} == {urlsplit(manager.url).netloc}
    assert not complaints


async def test_without_a_key_the_page_shows_the_problem(managers: Fleet, tmp_path: Path) -> None:
    manager = await asyncio.to_thread(managers.manager)
    async with page_of(manager.url + "/", [], []) as page:
        assert urlsplit(page.url).path == "/docs"
        status, answer = await submit_from(page, '{"pool": "echo"}')
        await screenshot(page, tmp_path, "refused")
    assert status == 401
    assert "unauthenticated" in answer
