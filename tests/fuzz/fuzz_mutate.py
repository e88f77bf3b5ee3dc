"""How good input is made bad: bytes, JSON, XML, text, and values of settings; all from one
generator.

Nothing here knows the commands; which file is mutated for which command is `fuzz_cases.py`.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from typing import Any

VALUES = (
    *("", "null", "???", "nan", "NaN", "inf", "-inf", "1e400", "-1e400", "1e-320", "-0.0", "-1"),
    *("0", "1", "2", "3", "0.5", "1.5", "7", "1000000000", str(10**30), str(-(2**63)), str(2**63)),
    *("true", "false", "yes", "none", "None", "[]", "{}", "[1,2]", "[0.1,0.9]", "[null]", "[[]]"),
    *("{a: 1}", "{a: {b: c}}", "[1,2", "{", "}", "]", "(", ")", "'", '"', "'open", '"open', "\\"),
    *("a b", "a,b", "a=b", "a:b", "a#b", "!!python/object/apply:os.getcwd []", "@x", "%s", "{0}"),
    *(
        "${",
        "${}",
        "${nope}",
        "${data}",
        "${seed}",
        "${out}",
        "${oc.env:HOME}",
        "${oc.env:NO_SUCH}",
    ),
    *("${now:%Y}", "${hydra:job.name}", "${hydra:nope}", "${.}", "${..a}", "${oc.decode:'[1'}"),
    *("x${seed}y", "\\${seed}", "$HOME", "~nobody/x", "~/x", "..", "../up", ".", "a/../../b", "*"),
    *("/dev/null", "/dev/null/x", "/proc/self/mem", "/proc/nope", "/nope/nope", "file://x", "-"),
    *("é漢字", "\u202eabc", "\U0001f600", "٣", "\t", "a\tb", "\x1b[31mred", "\x7f", "a\nb", "\r"),
    *(os.fsdecode(b"\xff\xfe"), "x" * 300, "y/" * 2500 + "z", "1_000", "0x10", "0b1", "1e5", "+1"),
)
"""Texts for the right-hand side of a setting: wrong types, no numbers, huge, empty, odd
characters."""

JSON_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf"), "", "a", "../x", "/etc/passwd", "a\0b", "\ud800"),
    *("é漢字", "\x1b[31m", "x" * 3000, [], {}, [[]], [None], {"a": None}, [1, 2, 3, 4], "1", "nan"),
    *([0, 0, 0, 0], [1e300] * 4, ["a"] * 4, {"size": [1, 1], "counts": "x"}, [True] * 4, [[1] * 6]),
)

XML_PIECES = (
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="nope"?>',
    '<?xml version="1.0" encoding="utf-7"?>',
    '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
    '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
    *("&b;", "&c;", "&#0;", "&#xD800;", "]]>", "<![CDATA[", "<!--", "<object/>", "<bndbox/>"),
    *("<object><name>x</name><bndbox><xmin>nan</xmin></bndbox></object>", "<a>" * 3000, "</a>"),
    *("\0", "\ufeff", "<size><width>-5</width><height>1e999</height></size>", "<filename>"),
    *("<filename>../../x.jpg</filename>", "<name>" + "n" * 5000 + "</name>", "\x1b", "<a b='"),
)

NUMBERS = ("nan", "inf", "-1", "0", "1e999", "1e308", "", " ", "x", str(10**30), "0.5", "-0.0", "٣")


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, repeat, insert or overwrite a few places."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(made) + 1) if rng.random() < 0.6 else rng.randrange(65)
        at = min(at, len(made))
        size = rng.choice((1, 1, 2, 4, 8, 100))
        kind = rng.randrange(8)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            made[at:at] = rng.randbytes(size)
        elif kind == 3:
            made[at : at + size] = rng.randbytes(size)
        elif kind == 4:
            made[at : at + size] = rng.choice((b"\0", b"\xff", b"\x7f")) * size
        elif kind == 5:
            del made[at : at + size]
        elif kind == 6:
            made[at:at] = bytes(made[at : at + 100])
        else:
            number = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, 255, 65535))
            width = rng.choice((2, 4, 8))
            order = rng.choice(("little", "big"))
            made[at : at + width] = (number % 256**width).to_bytes(width, order)
    return bytes(made)


def random_bytes(rng: random.Random) -> bytes:
    """A file that never was anything."""
    return rng.choice(
        (
            b"",
            b"\0",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"{",
            b"[",
            b"null",
            b"PK\3\4",
            b"\x80\4",
        )
    ) + rng.randbytes(rng.choice((0, 1, 10, 1000)))


def mutate_json(rng: random.Random, value: Any) -> Any:
    """Replace, drop, double or wrap a few nodes of a tree; returns the new tree."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        nodes = list(_nodes(value))
        if not nodes:
            return rng.choice(JSON_VALUES)
        # The first nodes are the large ones: half of the time one of those.
        holder, key = rng.choice(nodes[:12] if rng.random() < 0.4 else nodes)
        kind = rng.randrange(7)
        if kind <= 2:
            holder[key] = rng.choice(JSON_VALUES)
        elif kind == 3:
            del holder[key]
        elif kind == 4 and isinstance(holder, list):
            holder.append(holder[key])
        elif kind == 4:
            holder[rng.choice(("x", "", "id", "file", "\x1b"))] = holder[key]
        elif kind == 5:
            holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
        else:
            other, there = rng.choice(nodes)
            holder[key] = other.get(there) if isinstance(other, dict) else (other or [0])[0]
            # A tree that holds itself is no JSON.
            value = json.loads(json.dumps(value, default=str)) if not _loops(value) else None
    return value


def _tree(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}


def _loops(value: Any) -> bool:
    try:
        json.dumps(value)
    except (ValueError, RecursionError):
        return True
    return False


def _nodes(value: Any) -> Any:
    level = [value] if isinstance(value, (dict, list)) else []
    while level:
        following = []
        for holder in level:
            keys = holder if isinstance(holder, dict) else range(len(holder))
            for key in list(keys):
                yield holder, key
                if isinstance(holder[key], (dict, list)):
                    following.append(holder[key])
        level = following


def mutate_json_text(rng: random.Random, text: str) -> bytes:
    """JSON that is still JSON, mostly; sometimes only nearly so."""
    if rng.random() < 0.15:
        return mutate_bytes(rng, text.encode())
    if rng.random() < 0.05:
        return (b"[" * 100_000) if rng.random() < 0.5 else b'{"a":' * 50_000
    made = json.dumps(mutate_json(rng, _tree(text)), ensure_ascii=rng.random() < 0.7)
    return made.encode("utf-8", "surrogatepass")


def mutate_xml(rng: random.Random, text: str) -> bytes:
    """Put pieces in, change numbers and tags, change the encoding."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(5)
        if kind <= 1:
            at = 0 if rng.random() < 0.3 else rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(XML_PIECES) + text[at:]
        elif kind == 2:
            text = _replace_one(rng, r"(?<=>)-?\d[\d.]*(?=<)", text, lambda: rng.choice(NUMBERS))
        elif kind == 3:
            text = _replace_one(rng, r"</?\w+>", text, lambda: rng.choice(("", "<x>", "</object>")))
        else:
            return mutate_bytes(rng, text.encode("utf-8", "replace"))
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "latin-1")), "replace")


def mutate_lines(rng: random.Random, text: str) -> bytes:
    """Change numbers and words of a text file, drop and double lines, change the encoding."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(5)
        lines = text.split("\n")
        k = rng.randrange(len(lines))
        if kind == 0:
            text = _replace_one(rng, r"-?\d[\d.]*", text, lambda: rng.choice(NUMBERS))
        elif kind == 1:
            lines[k] = rng.choice((lines[k] * 2, "", "\0", "../x", "x" * 9000, "a b c", "# c", ","))
            text = "\n".join(lines)
        elif kind == 2:
            at = rng.randrange(len(text) + 1)
            text = (
                text[:at] + rng.choice((",", " ", "\t", "\r", "\u2028", "\x1b[1m", "é")) + text[at:]
            )
        elif kind == 3:
            text = rng.choice(
                ("\n".join(lines * 2), "", text.replace("\n", "\r\n"), text + " 1,2,3")
            )
        else:
            return mutate_bytes(rng, text.encode("utf-8", "replace"))
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "latin-1")), "replace")


def _replace_one(rng: random.Random, pattern: str, text: str, word: Callable[[], str]) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + word() + text[match.end() :]
