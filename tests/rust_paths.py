"""Reads the module paths that a Rust file names, in ``use`` lines and anywhere else.

A small reader, not a parser: it knows comments, strings, nested use groups, inline modules and test
modules, which is what a check of who names whom needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

GLOB = "*"
_NOISE = re.compile(
    r"""//[^\n]*                                   # line comment
      | /\*                                        # block comments nest: ended by hand
      | b?r(?P<hashes>\#*)"(?s:.*?)"(?P=hashes)    # raw string
      | b?"(?s:\\.|[^"\\])*"                       # string
      | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'    # character, never a lifetime
    """,
    re.VERBOSE,
)
_TEST_MODULE = re.compile(
    r"^[ \t]*#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod\s+tests\b", re.MULTILINE
)
_START = re.compile(r"(?<![\w:])(?P<head>crate|self|super)\b\s*(?P<tail>::)?")
_WHOLE = re.compile(
    r"\buse\s+[^;]*?(?<![\w:])(?:crate|super)\s*(?:as\b|;|,|\})|\bextern\s+crate\s+self\b"
)
_WORD = re.compile(r"\s*(?P<word>r#\w+|\w+|\*)\s*")
_BLOCK = re.compile(r"\bmod\s+(?P<name>\w+)\s*\{|(?P<brace>[{}])")


@dataclass(frozen=True)
class Named:
    """One path: where it stands and the absolute module path it means; ``*`` for a glob."""

    line: int
    text: str
    path: tuple[str, ...]


def without_noise(source: str) -> str:
    """``source`` with comments, strings and character literals blanked, line numbers kept."""
    out, position = [], 0
    while (match := _NOISE.search(source, position)) is not None:
        end = _comment_end(source, match.start()) if match[0] == "/*" else match.end()
        out += [
            source[position : match.start()],
            re.sub(r"[^\n]", " ", source[match.start() : end]),
        ]
        position = end
    return "".join(out) + source[position:]


def _comment_end(source: str, start: int) -> int:
    depth = 0
    for match in re.finditer(r"/\*|\*/", source[start:]):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return start + match.end()
    return len(source)


def before_tests(code: str) -> str:
    """The file up to its test module."""
    match = _TEST_MODULE.search(code)
    return code if match is None else code[: match.start()]


def module_of(file: PurePath) -> tuple[str, ...]:
    """Module path of a file given relative to ``src``."""
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def named_paths(source: str, file: PurePath) -> Iterator[Named]:
    """Every ``crate::``, ``self::`` and ``super::`` path outside tests, made absolute."""
    code = before_tests(without_noise(source))
    home = module_of(file)
    for match in _WHOLE.finditer(code):
        yield Named(_line(code, match.end()), match[0], ())
    for match in _START.finditer(code):
        if match["tail"] is None:
            continue
        inside = home + tuple(_inline_modules(code, match.start()))
        base = () if match["head"] == "crate" else inside
        if match["head"] == "super":
            base = base[:-1]
        for path in _tails(code, match.end()):
            yield Named(
                _line(code, match.start()),
                match["head"] + "::" + "::".join(path),
                _walk(base, path),
            )


def _line(code: str, position: int) -> int:
    return code.count("\n", 0, position) + 1


def _walk(base: tuple[str, ...], path: tuple[str, ...]) -> tuple[str, ...]:
    for word in path:
        if word == "super":
            base = base[:-1]
        elif word != "self":
            base = (*base, word)
    return base


def _inline_modules(code: str, position: int) -> list[str]:
    """Names of the inline modules open at ``position``."""
    open_blocks: list[str | None] = []
    for match in _BLOCK.finditer(code, 0, position):
        if match["brace"] == "}":
            if open_blocks:
                open_blocks.pop()
        else:
            open_blocks.append(match["name"])
    return [name for name in open_blocks if name is not None]


def _tails(code: str, position: int) -> list[tuple[str, ...]]:
    return _tail(code, position)[0]


def _tail(code: str, position: int) -> tuple[list[tuple[str, ...]], int]:
    """The paths that go on at ``position``, after a ``::``: one, or those of a brace group."""
    match = re.compile(r"\s*\{").match(code, position)
    if match is not None:
        return _group(code, match.end())
    word = _WORD.match(code, position)
    if word is None:  # a turbofish: the path has ended
        return [()], position
    name, position = word["word"].removeprefix("r#"), word.end()
    if not code.startswith("::", position):
        return [(name,)], position
    rest, position = _tail(code, position + 2)
    return [(name, *path) for path in rest], position


def _group(code: str, position: int) -> tuple[list[tuple[str, ...]], int]:
    found: list[tuple[str, ...]] = []
    while position < len(code):
        inner, after = _tail(code, position)
        found += [path for path in inner if path]
        rest = re.compile(r"(?:\s*as\s+\w+)?\s*(?P<mark>[,}])").match(code, after)
        if rest is None:
            return found, after
        position = rest.end()
        closing = re.compile(r"\s*\}").match(code, position) if rest["mark"] == "," else None
        if closing is not None:
            return found, closing.end()
        if rest["mark"] == "}":
            return found, position
    return found, position
