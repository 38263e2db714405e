"""A real browser, for tests and pictures: Chromium or Chrome of this machine, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 240.0
"""Seconds that a server may take to start, and a page to show something: test machines are busy."""


def found() -> str | None:
    """Return the path of a browser, None if this machine has none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def opened(width: int = 1400, height: int = 900, dark: bool = False) -> Iterator[Any]:
    """Open a page of a fresh browser.

    Args:
        width: of the window, in pixels.
        height: of the window.
        dark: whether pages are asked for dark colours.

    Yields:
        Playwright's `Page`; what it asks of other machines is refused, and listed as `page.refused`.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found(), args=["--no-sandbox"])
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.set_default_timeout(PATIENCE * 1000)
        page.refused = []
        page.route("**/*", lambda route: _let_pass(page, route))
        yield page
        browser.close()


def _let_pass(page: Any, route: Any) -> None:
    """Let pass what comes from this machine."""
    if route.request.url.startswith(("http://127.0.0.1", "http://localhost", "file:", "data:", "blob:")):
        route.continue_()
    else:
        page.refused.append(route.request.url)
        route.abort()


@contextmanager
def serving(command: Sequence[str], path: str, project: Path, env: dict[str, str]) -> Iterator[str]:
    """Start a server and wait until it answers.

    Args:
        command: what starts it; `{port}` stands for the port.
        path: that answers when all is ready.
        project: where it runs.
        env: its environment.

    Yields:
        Its address, without a slash at the end.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    port = _free_port()
    words = [word.format(port=port) for word in command]
    log = project / f"server_{port}.log"
    with log.open("wb") as output:
        # A session of its own: it starts processes, which have to end with it.
        server = subprocess.Popen(
            words, cwd=project, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(server, f"{address}{path}", log)
        yield address
    finally:
        _end(server)
        log.unlink(missing_ok=True)


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(address, timeout=30):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"{address} does not answer: {log.read_text(errors='replace')[-2000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
