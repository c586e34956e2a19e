"""What reading text from anyone has in common: a bound on the work, and errors that name the column."""

from __future__ import annotations

from .. import limits
from ..exceptions import ContactSyntaxError

__all__ = ["check_text", "fail", "quoted"]

_SHOWN_MAX = 200  # characters of a mistyped text that an error repeats


def fail(message: str, text: str, index: int) -> ContactSyntaxError:
    """The error for a fault at ``text[index]``; what is shown of ``text`` cannot disturb a terminal."""
    shown = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    return ContactSyntaxError(f"{message} (column {index + 1} of {quoted(shown)})", shown, index + 1)


def quoted(text: str) -> str:
    """``text`` quoted, with everything escaped that is not printable (control and direction characters)."""
    return repr(text)


def check_text(what: str, text: str) -> None:
    """Bound the work that hostile text can cause."""
    if not isinstance(text, str):
        raise TypeError(f"{what}: expected str, found {type(text).__name__}")
    if len(text) > limits.CONTACT_TEXT_MAX:
        message = f"{what}: {len(text)} characters long, at most {limits.CONTACT_TEXT_MAX} are allowed"
        raise fail(message, text, limits.CONTACT_TEXT_MAX)
    for index, character in enumerate(text):
        if character.isspace():
            raise fail(f"{what}: white space is not allowed, remove it", text, index)
