# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrows between the modules of the package point one way."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import spank_qrmi
import spank_qrmi_simulator

PACKAGE = Path(spank_qrmi.__file__).parent
# Each may import those that stand behind it, and the modules beside them.
FOLDERS = (
    *("qrun", "admin", "check", "monitor", "worker", "job", "network", "configuration", "state"),
    *("catalog", "clients", "trust"),
)
ROOT = ""


def folder_of(module: str) -> str:
    folder = module.partition(".")[0]
    return folder if (PACKAGE / folder).is_dir() else ROOT


def imports_of(path: Path) -> Iterator[str]:
    """Yield what a module imports of the package, as modules' names below it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            package, _, module = node.module.partition(".")
            if package == PACKAGE.name:
                for each in node.names:
                    inner = f"{module}.{each.name}".removeprefix(".")
                    is_module = PACKAGE.joinpath(*inner.split(".")).with_suffix(".py").exists()
                    yield inner if is_module else module


def graph() -> dict[str, set[str]]:
    """Return what each module imports; the module of a package has its folder's name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.with_suffix("").relative_to(PACKAGE).parts)
        # That is the command's other name.
        if module != "__main__":
            found[module.removesuffix(".__init__")] = set(imports_of(path)) - {"__init__", ""}
    return found


def test_folders_import_what_is_below_them_and_no_module_needs_itself() -> None:
    assert {each.parent.name for each in PACKAGE.glob("*/__init__.py")} == {*FOLDERS, "plugin"}
    places = [*FOLDERS, ROOT]
    wrong = [
        (module, imported)
        for module, imports in graph().items()
        for imported in imports
        if module != "plugin"
        and places.index(folder_of(imported)) < places.index(folder_of(module))
    ]
    assert wrong == []
    assert list(graphlib.TopologicalSorter(graph()).static_order()) != []


def test_simulator_needs_nothing_of_ours() -> None:
    modules = Path(spank_qrmi_simulator.__file__).parent.rglob("*.py")
    assert [path.name for path in modules if list(imports_of(path))] == []
