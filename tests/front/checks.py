"""What a check is: a function of a Run that returns what it found, raises Failed or Skip, and belongs to a level."""
from dataclasses import dataclass
from typing import Callable

CHECKS = {"redis": [], "mongo": []}
BELONGS = {"basic": ["basic"], "quick": ["basic", "quick"], "full": ["basic", "quick", "full", "routing"], "routing": ["routing"]}


class Failed(AssertionError):
    """What is wrong, and what to do about it."""

    def __init__(self, text, hint=None):
        super().__init__(text)
        self.hint = hint


class Skip(Exception):
    """Why a check cannot be made here, and what would change that."""

    def __init__(self, text, hint=None):
        super().__init__(text)
        self.hint = hint


@dataclass
class Check:
    name: str
    title: str
    level: str
    function: Callable
    first: bool  # when it fails, no other is worth running


def check(kind, level, title, first=False):
    def add(function):
        CHECKS[kind].append(Check(function.__name__, title, level, function, first))
        return function

    return add


def chosen(kind, level):
    return [c for c in CHECKS[kind] if c.level in BELONGS[level] or (c.first and level == "routing")]


def expect(got, want, what, hint=None):
    """Fails, showing both, when they differ."""
    if got != want:
        raise Failed(f"{what}: got {short(got)}, expected {short(want)}", hint)


def short(value):
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]}... ({len(text)} characters)"
