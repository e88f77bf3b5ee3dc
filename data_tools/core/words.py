"""Text from data made safe to show: on a terminal, in a table that a spreadsheet opens, as the name
of a file.

What a message says is its writer's matter.
"""

from __future__ import annotations

import unicodedata

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the last four are wide forms of them
_OVERREAD = " '\t\r\n\v\f\u00a0\u3000\ufeff"
"""What spreadsheets pass over before a formula, and the apostrophe itself, so that it can come
back."""


def printable(text: str) -> str:
    r"""Write control characters and halves of characters as escapes: a terminal must not obey a
    file.

    >>> printable("a\x1b[1m b")
    'a\\x1b[1m b'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def for_terminal(text: str) -> str:
    r"""Write what a terminal would obey or could not show as escapes; line ends, tabs and returns
    stay.

    Unlike `printable` it leaves every sign of every script as it is, and is meant for whole
    streams.

    >>> for_terminal("a\x1b]0;b\x07 猫\r\n")
    'a\\x1b]0;b\\x07 猫\r\n'
    """
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if _is_obeyed(c) else c for c in text)


def _is_obeyed(sign: str) -> bool:
    if sign in "\n\t\r":
        return False
    return unicodedata.category(sign) in ("Cc", "Cs") or sign in _TURNING


def csv_cell(text: str) -> str:
    """Quote a text that a spreadsheet would take for a formula, as OWASP advises: with an
    apostrophe before it.

    >>> csv_cell("=1+1"), csv_cell(" =1"), csv_cell("cat")
    ("'=1+1", "' =1", 'cat')
    """
    return f"'{text}" if _is_formula(text) else text


def from_csv_cell(text: str) -> str:
    """Return what `csv_cell` was given.

    >>> from_csv_cell("'=1+1"), from_csv_cell("'tis"), from_csv_cell("cat")
    ('=1+1', "'tis", 'cat')
    """
    return text[1:] if text[:1] == "'" and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    if text.lstrip("'")[:1] in ("\t", "\r"):
        return True
    return text.lstrip(_OVERREAD).startswith(_FORMULA_STARTS)


def name_as_text(name: str) -> str:
    r"""Return a file's name as text that any file can hold: bytes that are no UTF-8 become `\xNN`.

    >>> name_as_text("caf\udce9.jpg"), name_as_text("é.jpg")
    ('caf\\xe9.jpg', 'é.jpg')
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
