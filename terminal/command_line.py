"""Read a command line: which command, with what. A thin layer over argparse, which is there at once.

Options that all commands share may stand before or after the command's name. A name that is nearly right is answered
with the right one; nothing is guessed and nothing abbreviated.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from schemas.errors import Exit, SettingsError
from terminal.options import COMMON, Common, Option
from terminal.output import put, tell

WIDEST = 100


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: what it is called, what it takes, what runs it. The docstring of `run` is its help."""

    path: tuple[str, ...]
    run: Callable[..., Any]
    options: tuple[Option, ...] = ()
    shared: tuple[Option, ...] = COMMON

    @property
    def help(self) -> tuple[str, str]:
        """One line, and everything."""
        lines = [line.strip() for line in (self.run.__doc__ or "").strip().splitlines()]
        return lines[0], "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line asks for."""

    command: Command
    common: Common
    own: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """All commands, and the words around them."""

    name: str
    version: str
    about: str
    after: str
    groups: dict[str, str]  #: a group of commands and what it is for
    commands: Sequence[Command]

    def read(self, arguments: Sequence[str] | None = None) -> Asked:
        """Raises SettingsError on a line that cannot be understood, SystemExit once help or version was printed."""
        found, unknown = self._parser().parse_known_args(arguments)
        given = vars(found)
        parser: _Parser = given.pop("_parser")
        if unknown:
            parser.unknown(unknown)
        command: Command | None = given.pop("_command", None)
        if command is None:
            tell(parser.format_help().rstrip())
            raise SystemExit(int(Exit.USAGE))
        common = {name: given.pop(name) for name in ("config", "json", "quiet") if name in given}
        return Asked(command=command, common=Common(**common), own=given)

    def _parser(self) -> _Parser:
        top = _Parser(self.name, about=self.about, after=self.after, options=COMMON)
        top.add_argument(
            "--version",
            action=_Version,
            nargs=0,
            const=self.version,
            default=argparse.SUPPRESS,
            help="print the version and stop",
        )
        places: dict[tuple[str, ...], argparse._SubParsersAction[_Parser]] = {
            (): top.add_subparsers(title="commands", metavar="COMMAND")
        }
        for command in self.commands:
            group = command.path[:-1]
            if group not in places:
                about = self.groups[group[0]]
                parser = places[()].add_parser(
                    group[0], help=about, prog=f"{self.name} {group[0]}", about=about, options=COMMON
                )
                places[group] = parser.add_subparsers(title="commands", metavar="COMMAND")
            short, whole = command.help
            parser = places[group].add_parser(
                command.path[-1],
                help=short,
                prog=" ".join((self.name, *command.path)),
                about=whole,
                options=(*command.options, *command.shared),
            )
            parser.set_defaults(_command=command)
        return top


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where help is."""

    def __init__(self, prog: str, *, about: str, options: Iterable[Option], after: str | None = None) -> None:
        super().__init__(prog, description=about, epilog=after, formatter_class=_Words, allow_abbrev=False, add_help=False)
        for add in options:
            add(self)
        self.add_argument("-h", "--help", action="help", help="show this and stop")
        self.set_defaults(_parser=self)
        self._positionals.title, self._optionals.title = "arguments", "options"

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("argument ")
        words = words if words[:2].isupper() else words[:1].lower() + words[1:]  # ID and RUN are names
        raise SettingsError(words, hint=f"{self.prog} --help")

    def unknown(self, arguments: Sequence[str]) -> NoReturn:
        first = arguments[0].split("=")[0]
        if not first.startswith("-"):
            self.error(f"nobody asked for {first!r}: `{self.prog}` takes no such argument")
        known = [name for action in self._actions for name in action.option_strings]
        close = difflib.get_close_matches(first, known, 1)
        raise SettingsError(f"`{self.prog}` has no option {first}", hint=f"{close[0]}" if close else f"{self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            close = difflib.get_close_matches(str(value), list(action.choices), 1)
            raise SettingsError(
                f"`{self.prog}` has no command {value!r}",
                hint=f"{self.prog} {close[0]}" if close else f"{self.prog} --help",
            )

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        put(message)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        put(f"{parser.prog} {self.const}")
        parser.exit()


class _Words(argparse.RawDescriptionHelpFormatter):
    """Help in paragraphs, a list of commands without a heading of its own."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=22, width=min(WIDEST, shutil.get_terminal_size().columns) - 2)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """`fencepost gaps [OPTIONS]`: the options stand below, each with its meaning."""
        arguments = [a for a in actions if not a.option_strings]
        words = [self._prog, "[OPTIONS]", *("COMMAND …" if a.choices else _written(a) for a in arguments)]
        super().add_usage(" ".join(words).replace("%", "%%"), [], [], prefix or "usage: ")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
        return "\n\n".join(argparse.HelpFormatter._fill_text(self, part, width, indent) for part in paragraphs)

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        if isinstance(action, argparse._SubParsersAction):
            _, _, listed = text.partition("\n")
            return "\n".join(line[2:] for line in listed.splitlines()) + "\n"
        return text


def _written(action: argparse.Action) -> str:
    return f"{action.metavar}…" if action.nargs == "+" else str(action.metavar)
