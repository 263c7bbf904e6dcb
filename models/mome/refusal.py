"""The one error of the model that is about an exam, not about the software."""

from __future__ import annotations


class Refused(ValueError):
    """This exam cannot be analysed: a code, what was found, and what to do about it."""

    def __init__(self, code: str, message: str, *, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.code = code
        self.message = message
        self.remedy = remedy
