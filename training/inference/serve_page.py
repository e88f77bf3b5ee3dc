"""The local page as one HTML text: its parts put together with what the running detector is and
takes.

How it looks and behaves is in `local_page.html`, `local_page.css` and `local_page.js`; the server
is `serve.py`.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def local_page(settings: dict[str, Any]) -> str:
    """Return the page; it takes nothing from elsewhere.

    Args:
        settings: What the script knows: `model` and `limits` in words, `threshold`, the lowest one
            (`floor`), the largest upload in bytes (`limit`), and the best threshold of each label
            (`auto`), if known.
    """
    folder = resources.files("training.inference")
    parts = {k: (folder / f"local_page.{k}").read_text("utf-8") for k in ("html", "css", "js")}
    # Inside a script element only "</" and "<!--" could end the text early.
    known = json.dumps(settings).replace("<", "\\u003c")
    page = parts["html"].replace("/*CSS*/", parts["css"]).replace("/*JS*/", parts["js"])
    return page.replace("/*SETTINGS*/null", known)
