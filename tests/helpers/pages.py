"""What an HTML report says: the data that stand in it."""

from __future__ import annotations

import json
import re
from typing import Any


def data_of(text: str) -> Any:
    """The JSON of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])
