"""Say what was probably meant when a name is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


def closest(name: str, known: Iterable[str] | Mapping[str, str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return up to `count` of the known names that are most like `name`, the nearest first. Case does not count.

    A mapping gives what to return for each name; `cutoff` is the least `difflib.SequenceMatcher.ratio`.
    """
    called = known if isinstance(known, Mapping) else {choice: choice for choice in known}
    by_lower = {call.lower(): said for call, said in called.items()}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, count, cutoff)]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error line about an unknown `name`: the nearest names, or all where none is near.

    Case does not count, and a dotted key is also compared by its last part (`LR` finds `OPTIM.LR`).
    """
    choices = sorted(known)
    near = closest(name, choices, 3)
    if not near:
        parts = {choice: choice.rsplit(".", 1)[-1].lower() for choice in choices}
        close = closest(name.rsplit(".", 1)[-1], sorted(set(parts.values())), 3, 0.75)
        near = [choice for part in close for choice in choices if parts[choice] == part][:3]
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(choices[:30]) + (", ..." if len(choices) > 30 else "")
    return f"known: {shown or 'none'}"
