# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrows between the folders of the package point one way."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import spank_qrmi
import spank_qrmi_simulator

PACKAGE = Path(spank_qrmi.__file__).parent
# Each may import those that stand behind it.
FOLDERS = ("network", "configuration", "state", "qrun", "clients", "trust")


def imports_of(module: Path) -> Iterator[str]:
    """Yield what a module imports of the package, as the name of a folder or of a module beside."""
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            package, _, path = node.module.partition(".")
            if package == PACKAGE.name:
                yield from [path.partition(".")[0]] if path else (each.name for each in node.names)


def may_import(name: str, folders: Sequence[str]) -> bool:
    """Return whether a name is one of the folders, or a module beside them that needs none."""
    module = PACKAGE / f"{name}.py"
    if not module.exists():
        return name in {*folders, "__version__"}
    return all(may_import(each, []) for each in imports_of(module))


def test_every_folder_has_its_place() -> None:
    folders = {each.parent.name for each in PACKAGE.glob("*/__init__.py")}
    assert folders == {*FOLDERS, "plugin"}


def test_folders_import_what_is_below_them() -> None:
    wrong = [
        (str(module.relative_to(PACKAGE)), name)
        for place, folder in enumerate(FOLDERS)
        for module in (PACKAGE / folder).glob("*.py")
        for name in imports_of(module)
        if not may_import(name, FOLDERS[place:])
    ]
    assert wrong == []


def test_simulator_needs_nothing_of_ours() -> None:
    modules = Path(spank_qrmi_simulator.__file__).parent.rglob("*.py")
    assert [module.name for module in modules if list(imports_of(module))] == []
