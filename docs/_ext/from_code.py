"""Directives that write tables of the documentation from the code, so that nothing stands twice.

``scenario-keys``, ``workload-kinds``, ``policy-names``, ``view-columns``, ``command-help`` and
``paper-numbers`` take no arguments. Besides, a build warns of public names that the API reference
leaves out.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import esxcore

_CODE = re.compile(r"``(.+?)``|`(.+?)`|(\{ .+? \}|\"[^\"]*\"|\[[^\]]*\])")
logger = logging.getLogger(__name__)


def _inline(text: str) -> Iterator[nodes.Node]:
    """Text in which what is quoted, or in brackets, is code."""
    end = 0
    for found in _CODE.finditer(text):
        yield nodes.Text(text[end : found.start()])
        code = next(group for group in found.groups() if group is not None)
        yield nodes.literal("", code)
        end = found.end()
    yield nodes.Text(text[end:])


def _code(text: object) -> list[nodes.Node]:
    return [nodes.literal("", str(text))] if text != "" else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[str | list[nodes.Node]]]) -> nodes.Node:
    """A table; a cell is text, or nodes that are ready."""
    table = nodes.table(classes=["docutils", "align-default"])
    group = nodes.tgroup(cols=len(heads))
    table += group
    group += [nodes.colspec(colwidth=1) for _ in heads]
    group += nodes.thead("", _row([[nodes.Text(head)] for head in heads]))
    group += nodes.tbody("", *map(_row, rows))
    return table


def _row(cells: Iterable[str | list[nodes.Node]]) -> nodes.Node:
    row = nodes.row()
    for cell in cells:
        content = list(_inline(cell)) if isinstance(cell, str) else cell
        row += nodes.entry("", nodes.paragraph("", "", *content))
    return row


def _paragraph(text: str) -> nodes.Node:
    return nodes.paragraph("", "", *_inline(text))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _first_line(documented: object) -> str:
    """The summary of a docstring, on however many lines."""
    text = inspect.getdoc(documented) or ""
    return " ".join(text.split("\n\n")[0].split())


def attributes_of(documented: object, heading: str) -> dict[str, tuple[str, str]]:
    """Type and meaning by name, as a section of a NumPy docstring has them."""
    text = inspect.getdoc(documented) or ""
    _, _, rest = text.partition(f"{heading}\n{'-' * len(heading)}\n")
    found: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for line in rest.split("\n\n")[0].splitlines():
        if line.startswith("    "):
            for name in names:
                kind, said = found[name]
                found[name] = kind, f"{said} {line.strip()}".strip()
        else:
            words, _, kind = line.partition(" : ")
            names = words.split(", ")
            found |= dict.fromkeys(names, (kind, ""))
    return found


class _FromCode(Directive):
    """A directive that gives sections and tables."""

    def section(self, title: str, key: str, *content: nodes.Node) -> nodes.Node:
        section = nodes.section(ids=[nodes.make_id(key)], names=[nodes.fully_normalize_name(key)])
        section += nodes.title("", "", *_inline(title))
        section += content
        self.state.document.note_implicit_target(section, section)
        return section


class ScenarioKeys(_FromCode):
    """Every section and key of a scenario file, from its models."""

    def run(self) -> list[nodes.Node]:
        from esxcore.scenario.model import ScenarioModel

        sections = []
        for name, field in ScenarioModel.model_fields.items():
            model, many = _model_of(field.annotation)
            assert model is not None, name  # every field of a scenario is a section
            head = f"[[{name}]]" if many else f"[{name}]"
            section = self._section(f"`{head}`", f"scenario-{name}", model)
            section += [
                self._section(f"`{name}.{key}`", f"scenario-{name}-{key}", inner)
                for key, part in model.model_fields.items()
                if (inner := _model_of(part.annotation)[0])
            ]
            sections.append(section)
        return sections

    def _section(self, title: str, key: str, model: type[BaseModel]) -> nodes.Node:
        rows = [
            (_code(name), _default(field), field.description or "")
            for name, field in model.model_fields.items()
        ]
        table = _table(("key", "default", "what it takes"), rows)
        return self.section(title, key, _paragraph(_first_line(model)), table)


def _model_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model in a field's type, if there is one, and whether it is one of many."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    origin = typing.get_origin(annotation)
    for part in typing.get_args(annotation):
        model, many = _model_of(part)
        if model is not None:
            return model, many or origin is tuple
    return None, False


def _default(field: FieldInfo) -> list[nodes.Node] | str:
    if field.is_required():
        return [nodes.strong("", "required")]
    value = field.get_default(call_default_factory=True)
    if value is None or value == ():
        return ""
    if isinstance(value, BaseModel):
        return "its own defaults"
    return _code(_toml(value))


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


class WorkloadKinds(_FromCode):
    """Every kind of workload that is built in, with its parameters."""

    def run(self) -> list[nodes.Node]:
        from esxcore.workload import KINDS

        return [
            self.section(
                f"`{kind.name}`",
                f"workload-{kind.name}",
                _paragraph(_sentence(kind.meaning)),
                _table(("parameter", "default", "meaning"), map(self._row, rows)),
            )
            for kind in sorted(KINDS.values())
            if (rows := kind.parameters.values())
        ]

    @staticmethod
    def _row(row: Any) -> tuple[Any, ...]:
        from esxcore.workload.programs import text_of

        if row.is_required:
            default: Any = [nodes.strong("", "required")]
        else:
            default = "" if row.default is None else _code(text_of(row.form, row.default))
        words = f" ({', '.join(f'`{word}`' for word in row.words)})" if row.words else ""
        return _code(row.name), default, _sentence(f"{row.meaning}{words}")


class PolicyNames(_FromCode):
    """Every policy that has a name, with its settings."""

    def run(self) -> list[nodes.Node]:
        from esxcore.policy import POLICIES

        rows = []
        for name, made in POLICIES.items():
            settings = ", ".join(f"`{setting}`" for setting in _settings(made)) or "none"
            rows.append((_code(name), _code(made.__name__), settings, _first_line(made)))
        return [_table(("name", "class", "settings", "what it does"), rows)]


def _settings(made: Callable[..., object]) -> Iterator[str]:
    for parameter in inspect.signature(made).parameters.values():
        is_required = parameter.default is parameter.empty
        yield parameter.name + ("" if is_required else f" = {parameter.default!r}")


class ViewColumns(_FromCode):
    """Everything that a policy sees."""

    def run(self) -> list[nodes.Node]:
        said = attributes_of(esxcore.HostView, "Attributes")
        rows = [(_code(name), *said[name]) for name in esxcore.HostView.__slots__]
        return [_table(("name", "type", "meaning"), rows)]


class CommandHelp(_FromCode):
    """What ``--help`` prints, of the command and of each sub-command."""

    def run(self) -> list[nodes.Node]:
        import click

        from esxcore.cli import main

        settings: dict[str, Any] = main.context_settings | {"terminal_width": 90}
        root = click.Context(main, info_name="esxcore", **settings)
        sections = [self._section("esxcore", main.get_help(root))]
        for name in main.list_commands(root):
            command = main.get_command(root, name)
            assert command is not None, name
            context = click.Context(command, info_name=name, parent=root)
            sections.append(self._section(f"esxcore {name}", command.get_help(context)))
        return sections

    def _section(self, command: str, text: str) -> nodes.Node:
        block = nodes.literal_block("", text, language="text")
        return self.section(f"`{command}`", f"command-{command}", block)


class PaperNumbers(_FromCode):
    """Every number of the paper that the engine knows."""

    def run(self) -> list[nodes.Node]:
        rows = [
            (_code(row.name), f"{row.value:g}", row.unit, f"§{row.section}", row.confidence)
            for row in esxcore.paper_parameters()
        ]
        return [_table(("name", "value", "unit", "section", "known from"), rows)]


def _split_names(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Gives each of ``a, b : int`` under *Attributes* an entry of its own, as napoleon needs it."""
    if "Attributes" not in lines:
        return
    begin = lines.index("Attributes") + 2
    end = next((at for at in range(begin, len(lines)) if not lines[at]), len(lines))
    split: list[str] = []
    heads: list[str] = []
    said: list[str] = []
    for line in [*lines[begin:end], ""]:
        if line.startswith(" "):
            said.append(line)
            continue
        split += [text for head in heads for text in (head, *said)]
        names, colon, kind = line.partition(" : ")
        heads, said = [f"{name}{colon}{kind}" for name in names.split(", ")], []
    lines[begin:end] = split


def _find_names_left_out(app: Sphinx, env: BuildEnvironment) -> None:
    documented = {name for name, *_ in env.get_domain("py").get_objects()}
    for name in esxcore.__all__:
        if f"esxcore.{name}" not in documented:
            logger.warning("the public name esxcore.%s is in no page of docs/api", name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    for directive in (
        ScenarioKeys,
        WorkloadKinds,
        PolicyNames,
        ViewColumns,
        CommandHelp,
        PaperNumbers,
    ):
        words = re.findall(r"[A-Z][a-z]+", directive.__name__)
        app.add_directive("-".join(words).lower(), directive)
    app.connect("autodoc-process-docstring", _split_names, priority=100)  # before napoleon
    app.connect("env-check-consistency", _find_names_left_out)
    return {"parallel_read_safe": True}
