"""Language models and text without labels in a real browser."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent


def test_text_is_scored_and_typed_text_continued(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "tests.writers_project", str(tmp_path), str(port)]
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    address, found = (
        f"http://127.0.0.1:{port}",
        next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None),
    )
    try:
        for _ in range(600):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                urlopen(address, timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
            page, errors = browser.new_page(viewport={"width": 1440, "height": 900}), list[str]()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            is_ready = "() => document.querySelector('#status')?.innerText.includes('Up to date')"
            page.wait_for_function(is_ready, timeout=120_000)
            table = page.inner_text("#numbers")
            assert "Expert letters" in table and "Ensemble" not in table
            page.locator("#closer button").first.click()
            page.get_by_role("tab", name="Try it").click()
            page.locator("#try-text textarea, #try-text input").first.fill('w3 w4 <img src=x onerror="window.ran=1">')
            page.locator("#try-answer").click()
            is_answered = "() => document.querySelector('#try-status')?.innerText.includes('1 sentence, 4 models')"
            page.wait_for_function(is_answered, timeout=120_000)
            answers = page.locator("#answers td.chosen").all_inner_texts()
            assert len(answers) == 4 and all(len(answer.split()) > 1 for answer in answers)
            assert page.evaluate("() => window.ran") is None
            assert errors == []
            browser.close()
        assert "a handler failed" not in (tmp_path / "log").read_text(), "the server logged a bug"
    finally:
        server.terminate()
        server.wait(20)
