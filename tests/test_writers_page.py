"""Language models and text without labels in a real browser."""

from __future__ import annotations

from pathlib import Path

from live_page import Server, open_browser, wait_until


def test_text_is_scored_and_typed_text_continued(tmp_path: Path):
    with Server(tmp_path, (), module="tests.writers_project") as server, open_browser() as browser:
        page, errors = browser.new_page(viewport={"width": 1440, "height": 900}), list[str]()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.address)
        is_ready = "() => document.querySelector('#status')?.innerText.includes('Up to date')"
        wait_until(page, is_ready, timeout=120_000)
        table = page.inner_text("#numbers")
        assert "Expert letters" in table and "Ensemble" not in table
        page.locator("#closer button").first.click()
        page.get_by_role("tab", name="Try it").click()
        page.locator("#try-text textarea, #try-text input").first.fill('w3 w4 <img src=x onerror="window.ran=1">')
        page.locator("#try-answer").click()
        is_answered = "() => document.querySelector('#try-status')?.innerText.includes('1 sentence, 4 models')"
        wait_until(page, is_answered, timeout=120_000)
        answers = page.locator("#answers td.chosen").all_inner_texts()
        assert len(answers) == 4 and all(len(answer.split()) > 1 for answer in answers)
        assert page.evaluate("() => window.ran") is None
        assert errors == []
