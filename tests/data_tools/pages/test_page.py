"""HTML reports: one file that needs nothing else, whatever its texts are; in a real browser
(slow).
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_tools.pages.page import (
    NUMBER,
    PERCENT,
    TEXT,
    Box,
    Chart,
    Matrix,
    Page,
    Picture,
    Table,
    write_page,
)
from data_tools.pages.thumbnails import LARGE, SMALL, ThumbnailBudget, thumbnail
from tests.helpers.browser import Browser
from tests.helpers.pages import data_of

NASTY = (
    '</script><script>document.body.dataset.hacked = "yes"</script>'
    '<!-- /*JS*/ /*DATA*/ &amp; "\u2028'
)


def example() -> Page:
    image = np.full((60, 80, 3), 120, np.uint8)
    pictures = [
        Picture(
            f"picture {k}",
            80,
            60,
            ThumbnailBudget().make(image) if k else None,
            NASTY if k == 1 else "",
            [Box(0, k % 2, 0, (5, 5, 20, 20)), Box(1, 1, 1, (30, 20, 25.25, 30), 0.25 + 0.2 * k)],
        )
        for k in range(3)
    ]
    return Page(
        NASTY,
        summary=[("AP", "0.5")],
        tables=[
            Table(
                "Classes",
                [("class", TEXT), ("AP", PERCENT), ("boxes", NUMBER)],
                [["b", 0.25, 7], ["a", None, 12], [NASTY, 0.5, 9]],
            )
        ],
        charts=[Chart("Curve", "x", [("line", [0.0, 0.5, 1.0], [0.0, None, 1.0])])],
        matrices=[Matrix("Matrix", ["a", "b"], [[3, 1], [0, 2]], "box", "detection")],
        pictures=pictures,
        layers=("truth", "detections"),
        classes=["a", "b"],
        tags=["fine", "wrong"],
    )


def test_texts_are_data_and_nothing_is_fetched(tmp_path: Path) -> None:
    write_page(tmp_path / "p.html", example())
    text = (tmp_path / "p.html").read_text("utf-8")
    data = data_of(text)
    assert data["title"] == NASTY and data["tables"][0]["rows"][2][0] == NASTY
    assert data["pictures"][0]["boxes"][1] == [1, 1, 1, 30.0, 20.0, 25.2, 30.0, 0.25]
    assert data["pictures"][0]["boxes"][0][-1] == -1
    assert text.count("</script>") == 2  # the data's and the program's
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert "default-src 'none'" in text


def test_thumbnails_stay_within_their_budget() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (400, 600, 3), np.uint8) for _ in range(12)]
    cost = {side: 4 * -(-len(thumbnail(images[0], side)) // 3) for side in (LARGE, SMALL)}
    allowed = 2 * cost[LARGE] + 5 * cost[SMALL]
    budget = ThumbnailBudget(num_bytes=allowed, num_large=2)
    made = [budget.make(image) for image in images]
    sizes = [
        max(cv2.imdecode(np.frombuffer(m, np.uint8), 1).shape) if m is not None else 0 for m in made
    ]
    assert sizes[:3] == [LARGE, LARGE, SMALL] and sizes[-1] == 0
    assert sizes == sorted(sizes, reverse=True)  # once the budget is used up, it stays so
    assert sum(4 * -(-len(m) // 3) for m in made if m is not None) <= allowed
    small = ThumbnailBudget().make(np.zeros((9, 1, 3), np.uint8))
    assert small is not None and cv2.imdecode(np.frombuffer(small, np.uint8), 1).shape == (9, 1, 3)


@pytest.mark.slow
def test_a_real_browser_sorts_filters_and_leafs_through(
    browser: Browser,
    tmp_path: Path,
) -> None:
    write_page(tmp_path / "p.html", example())
    browser.call("POST", "/url", url=(tmp_path / "p.html").as_uri())
    browser.wait_for("return document.body.dataset.ready === 'yes'")
    assert browser.run("return document.body.dataset.hacked") is None
    assert browser.run("return document.title").startswith("</script><script>")
    column = (
        "return [...document.querySelectorAll('tbody tr')].slice(0, 3)"
        ".map(r => r.cells[{}].innerText)"
    )
    press = "document.querySelectorAll('#tables th button')[{}].click();"
    assert browser.run(press.format(1) + column.format(1)) == ["50.0 %", "25.0 %", "–"]
    assert browser.run(press.format(1) + column.format(1)) == ["25.0 %", "50.0 %", "–"]
    assert browser.run(press.format(2) + column.format(2)) == ["12", "9", "7"]
    assert browser.run(press.format(0) + column.format(0))[1:] == ["a", "b"]
    sorted_by = (
        "return [...document.querySelectorAll('th')]"
        ".map(t => t.getAttribute('aria-sort')).filter(Boolean)"
    )
    assert browser.run(sorted_by) == ["ascending"]
    # The browser of pictures: 3 cards with 2 boxes each, then filters.
    boxes = (
        "return [...document.querySelectorAll('.card')].map(c => c.querySelectorAll('rect').length)"
    )
    assert browser.run(boxes) == [2, 2, 2]
    pick = (
        "const e = document.getElementById('{}'); e.value = '{}'; "
        "e.dispatchEvent(new Event('input'));"
    )
    browser.run(pick.format("score", "0.5"))
    assert browser.run(boxes) == [1, 1, 2]  # boxes without a score stay
    browser.run(pick.format("class", "0"))
    assert browser.run(boxes) == [1, 1]  # pictures 0 and 2 have class a
    browser.run(pick.format("class", ""))
    browser.run(pick.format("tag", "1"))
    assert browser.run(boxes) == [1]  # a wrong one from 0.5 up: the last picture
    browser.run(pick.format("tag", ""))
    browser.run(pick.format("score", "0"))
    browser.run("document.getElementById('layer-0').click()")
    assert browser.run(boxes) == [1, 1, 1]
    # The large view, by keyboard alone.
    browser.run("document.querySelector('.card').click()")
    large = (
        "return [document.getElementById('large').open, "
        "document.getElementById('large-caption').textContent]"
    )
    assert browser.run(large) == [True, "picture 0"]
    key = "document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}'}}));"
    assert browser.run(key.format("ArrowRight") + large)[1].startswith("picture 1")
    assert browser.run(key.format("ArrowLeft") + key.format("ArrowLeft") + large)[1] == "picture 0"
    inside = "return document.querySelectorAll('#large rect').length"
    assert browser.run(inside) == 1
    assert browser.run(key.format("1") + inside) == 2  # the key switches the truth on again
    browser.run("document.getElementById('close').click()")
    assert browser.run(large)[0] is False


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, tmp_path: Path) -> None:
    write_page(tmp_path / "p.html", example())
    # A frame of a phone's width: a headless window is never that narrow.
    (tmp_path / "frame.html").write_text(
        '<iframe id="f" src="p.html" style="width: 360px; height: 700px; border: 0"></iframe>'
    )
    browser.call("POST", "/url", url=(tmp_path / "p.html").as_uri())
    browser.wait_for("return document.body.dataset.ready === 'yes'")
    browser.call("POST", "/chromium/send_command", cmd="Emulation.setDeviceMetricsOverride",
                 params={"width": 360, "height": 700, "deviceScaleFactor": 2,
                         "mobile": True})  # fmt: skip
    browser.wait_for("return innerWidth === 360")
    assert browser.run("return document.documentElement.scrollWidth") <= 360
