"""What the documents say is held to the code: commands, options, exit codes, classes, causes, proofs, fields, links."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from fencepost import COMMANDS
from reconciler import proofs
from schemas import metrics
from schemas.data_types import DataType
from schemas.errors import Exit
from schemas.settings import Settings, load
from schemas.verdict import Cause, Claims, Fence, GapClass, OrphanClass, Proof, Report, TypeReport, Verdict, Window

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def spans(text: str) -> list[str]:
    """Everything written as code: between backticks, and whole lines of fenced blocks."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.S | re.M)
    prose = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.S | re.M)
    return [*re.findall(r"`([^`\n]+)`", prose), *(line for block in blocks for line in block.splitlines())]


def known() -> dict[tuple[str, ...], set[str]]:
    """Every command with the options that its help names."""
    text = read("docs/commands.md")
    out = {}
    for title, help_ in re.findall(r"^## fencepost ?(.*?)$\n+```text\n(.*?)```", text, re.S | re.M):
        out[tuple(title.split())] = set(re.findall(r"(?<![\w-])(--[a-z-]+)", help_))
    return out


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_commands", ROOT / "docs" / "make_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@every_page
def test_a_page_holds_no_leavings_of_a_merge_and_its_tables_are_whole(page: Path) -> None:
    """A line that is no row ends a table for whoever reads it as a page: what follows would be told as plain text."""
    text = re.sub(r"^```[^\n]*\n.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    assert not re.findall(r"^(?:<{7}|={7}|>{7})(?: .*)?$", text, re.M)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, rule, *rows = table.splitlines()
        assert re.fullmatch(r"[| :-]+", rule), f"a table without a head: {head}"
        for row in rows:
            assert cells(row) == cells(head), row


def cells(row: str) -> int:
    """How many cells a row of a table has; `\\|` and bars inside code are no bounds."""
    return len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row)))


def test_the_reference_of_commands_is_what_help_says(maker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert maker.page() == read("docs/commands.md"), "run: python docs/make_commands.py"


def test_the_reference_has_every_command_with_its_options() -> None:
    commands = known()
    assert set(commands) == {(), *(command.path for command in COMMANDS)}
    assert {"--since", "--deletes", "--dry-run", "--plan", "--config"} <= commands["cutover",]


@every_page
def test_every_command_line_in_the_documents_exists(page: Path) -> None:
    commands = known()
    for line in spans(page.read_text(encoding="utf-8")):
        found = re.match(r"^\s*(?:\$ )?fencepost ((?:[a-z]+ ?)+)?(.*)$", line)
        if not found or page.name == "commands.md":
            continue
        words = tuple((found[1] or "").split())
        path = next((words[:n] for n in (2, 1) if words[:n] in commands), None)
        if path is None:
            assert not words or words[0] in {c[0] for c in commands if c}, f"{page.name}: {line}"
            continue
        for option in re.findall(r"(?<![\w-])(--[a-z-]+)", found[2].split("#")[0]):
            assert option in commands[path], f"{page.name}: {line}"


def test_every_command_is_in_the_readme() -> None:
    text = read("README.md")
    for command in COMMANDS:
        assert f"`fencepost {' '.join(command.path)}" in text or f"`fencepost {command.path[0]} " in text, command.path


def test_the_readmes_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.M))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z0-9-]+)`|^make ([a-z0-9-]+)", page.read_text(encoding="utf-8"), re.M):
            assert (target[0] or target[1]) in targets, f"{page.name}: make {target}"


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            place = (page.parent / path).resolve() if path else page
            assert place.exists(), f"{page.name} links to {target}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.M)
                assert anchor in {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}, target


@pytest.mark.parametrize("name", [*GapClass, *OrphanClass, *Cause, *proofs.ORDER], ids=str)
def test_every_class_cause_and_proof_is_explained(name: str) -> None:
    assert f"| `{name}` |" in read("docs/report.md")


@pytest.mark.parametrize("name", proofs.ORDER)
def test_what_to_do_is_told_for_every_proof_that_can_fail(name: str) -> None:
    if name != "reread":  # it fails only together with GAPS, or is not asked
        assert f"| `{name}` |" in read("docs/operating.md")


def test_which_classes_are_backfilled_is_told_as_the_code_does() -> None:
    for row in re.findall(r"^\| `(\w+)` \|(.*)\|$", read("docs/report.md").split("## Classes")[1].split("## Causes")[0], re.M):
        told = row[1].split("|")[3].strip()
        backfilled = row[0] in [*GapClass] and GapClass(row[0]).backfilled
        assert told == ("yes" if backfilled else "no"), row[0]


def test_every_field_of_the_report_is_explained() -> None:
    text = read("docs/report.md")
    said = set(re.findall(r"[a-z_]+", " ".join(spans(text))))
    for model in (Report, TypeReport, Window, Fence, Claims, Proof):
        for name, field in model.model_fields.items():
            assert (field.alias or name) in said, f"{model.__name__}.{name}"


def test_exit_codes_and_verdicts_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| (\d) \| (.+?) \|$", read("docs/commands.md"), re.M))
    assert {int(code) for code in rows} == {int(code) for code in Exit}
    for verdict in Verdict:
        assert verdict.value in rows[str(int(verdict.exit_code))]
        assert f"| `{verdict.value}` | {int(verdict.exit_code)} |" in read("docs/report.md")


@every_page
def test_settings_named_in_the_documents_exist(page: Path) -> None:
    """`section.name` between backticks, where the section is one of the settings'."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items() if name != "data_types"}
    inner = {"source": DataType.model_fields["source"].annotation, "registry": DataType.model_fields["registry"].annotation}
    for span in spans(page.read_text(encoding="utf-8")):
        found = re.fullmatch(r"([a-z_]+)\.([a-z_]+)", span)
        if found and found[1] in sections and found[2] not in ("py", "md", "at", "lsn", "offsets", "yaml"):
            names: set[str] = set()
            for model in (sections[found[1]], inner.get(found[1])):
                fields = getattr(model, "model_fields", {})
                names |= {field.alias or name for name, field in fields.items()}
            assert found[2] in names, f"{page.name}: {span}"


@pytest.mark.parametrize("page", ["README.md", "demo/fencepost.yaml"])
def test_settings_files_that_are_shown_can_be_read(page: str, tmp_path: Path) -> None:
    text = read(page)
    found = re.search(r"^```yaml\n(.*?)^```", text, re.S | re.M)
    file = tmp_path / "fencepost.yaml"
    file.write_text(found[1] if found else text, encoding="utf-8")
    assert load(file, {"READER_PASSWORD": "a", "WRITER_PASSWORD": "b"}).data_types


@every_page
def test_every_metric_named_in_the_documents_exists(page: Path) -> None:
    exported = {metric.name for metric in metrics.ALL}
    for name in re.findall(
        r"\bfencepost_[a-z_]+_(?:total|open|seconds|records|low|info|ratio)\b", page.read_text(encoding="utf-8")
    ):
        assert name in exported, f"{page.name} names the metric {name}, which is not exported"


@every_page
def test_documents_name_no_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/(?:work|root|home|tmp)/", text)


def test_every_dependency_is_told_with_its_reason() -> None:
    declared = re.search(r"^dependencies = \[(.*?)^\]", read("pyproject.toml"), re.S | re.M)
    assert declared
    told = read("README.md")
    for name in re.findall(r'"([a-z0-9-]+)', declared[1]):
        assert re.search(rf"^\| `{name}[`\[]", told, re.M), name
