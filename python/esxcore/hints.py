"""Advice on names that are not known: the nearest that is, or which there are.

Every message that says *did you mean* has it from here, whatever the names are of: keys of a file,
policies, virtual machines, data of the package, columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

LIKE = 0.6
"""How alike a name must be to be proposed, from 0 to 1."""
LIKE_FOR_KEYS = 0.5
"""The same for keys of files, of which there are few and all differ."""

_MOST_LISTED = 40


def nearest(name: object, known: Iterable[str], like: float = LIKE) -> str | None:
    """The known name that is most like another, or None if none is like it."""
    near = difflib.get_close_matches(str(name), list(known), 1, like)
    return near[0] if near else None


def did_you_mean(
    name: object,
    known: Iterable[str],
    shown: Callable[[str], str] = repr,
    *,
    otherwise: str | None = None,
    like: float = LIKE,
) -> str:
    """Advice on a name that is not known, as the end of a message.

    Parameters
    ----------
    name : object
        What was given.
    known : iterable of str
        The names there are.
    shown : callable
        How the nearest is written: in Python's quotes, or as a file writes it.
    otherwise : str, optional
        What is said if none is like it; which there are if not given.
    like : float
        How alike it must be.

    Examples
    --------
    >>> did_you_mean("prox", ["static", "proxmox"])
    "did you mean 'proxmox'?"
    >>> did_you_mean("mine", ["static", "proxmox"])
    'expected one of static, proxmox'
    """
    known = list(known)
    near = nearest(name, known, like)
    if near is not None:
        return f"did you mean {shown(near)}?"
    return f"expected one of {listed(known)}" if otherwise is None else otherwise


def in_quotes(name: str) -> str:
    """A name as files write it, where it needs no escapes."""
    return f'"{name}"'


def listed(names: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """Names one after the other, and how many more there are if that is too long."""
    names = list(names)
    more = len(names) - _MOST_LISTED
    rest = f" and {more} more" if more > 0 else ""
    return ", ".join(map(shown, names[:_MOST_LISTED])) + rest
