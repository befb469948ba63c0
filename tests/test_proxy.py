"""The page below a path of a proxy, in a real browser: it loads, drags and downloads."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from hosted_server import HostedServer
from live_page import wait_until
from playwright.sync_api import Browser
from reverse_proxy import ReverseProxy
from test_page import READ_REGMEAN, browser, wait_until_up_to_date  # noqa: F401
from test_takeaway_page import save

from fusion_ui.projects.project import Project


def test_the_page_works_below_a_path_of_a_proxy(demo: Project, browser: Browser, tmp_path: Path):  # noqa: F811
    with (
        HostedServer(tmp_path, FUSION_UI_ROOT_PATH="/fusion") as server,
        ReverseProxy((server.host, server.port), "/fusion") as proxy,
    ):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(proxy.address + "/")
        wait_until_up_to_date(page)
        slider = page.locator("#alpha input[type=range]")
        box = slider.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        page.mouse.down()
        for share in (0.8, 0.7, 0.6, 0.5):
            page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        page.mouse.up()
        alpha = float(slider.input_value())
        wait_until(  # however long it takes on a machine that is very busy
            page,
            "name => document.querySelector('#accuracy .live-plot').data.some(trace => trace.name === name)",
            arg=f"RegMean α={alpha:g}", timeout=400_000,
        )  # fmt: skip
        wait_until_up_to_date(page, alpha)
        assert page.evaluate(READ_REGMEAN)["name"] == f"RegMean α={alpha:g}"
        recipe = json.loads(save(page, "#save-recipe", tmp_path).read_text())
        assert recipe["parameters"]["alpha"] == alpha
        page.locator("#make-zip").click()
        page.wait_for_selector("#download-zip", timeout=400_000)
        with zipfile.ZipFile(save(page, "#download-zip", tmp_path)) as archive:
            assert archive.testzip() is None
        page.close()
        assert [path for path in proxy.missed if "favicon" not in path] == []
        assert errors == []
        assert server.get("/metrics", **{"X-Forwarded-For": "1.2.3.4"})[0] == 404, "a proxy's visitors are strangers"
        assert server.get("/healthz")[0] == 200
        assert server.stop(30) == 0
