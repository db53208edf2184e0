"""Say what was probably meant when a name is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an error line about an unknown `name`: the nearest valid names, or all when none is near.

    Case does not count, and a dotted key is also compared by its last part (`LR` finds `OPTIM.LR`).
    """
    choices = sorted(known)
    by_lower = {choice.lower(): choice for choice in choices}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    if not near:
        last = name.rsplit(".", 1)[-1].lower()
        parts = {choice: choice.rsplit(".", 1)[-1].lower() for choice in choices}
        close = difflib.get_close_matches(last, sorted(set(parts.values())), n=3, cutoff=0.75)
        near = [choice for part in close for choice in choices if parts[choice] == part][:3]
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(choices[:30]) + (", ..." if len(choices) > 30 else "")
    return f"known: {shown or 'none'}"
