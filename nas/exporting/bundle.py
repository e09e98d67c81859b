"""One Python file of a module and of the definitions that it uses from other modules of this project.

The file imports no module of this project. Its functions are the text of the originals, so that both cannot differ.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "nas"
"""The package whose definitions are copied; modules of other packages are imported."""


@dataclass
class Source:
    """The definitions and imports of a module.

    Attributes:
        name: name of the module.
        lines: its text.
        tree: its syntax tree.
        defined: statements at the top level, by the names that they define.
        copied: name of the module of each name that is imported from this project.
        imported: module and name of each other import, by its name here; no module for modules themselves.
        needed: names of the definitions that are copied.
        hinted: classes that annotations name.
    """

    name: str
    lines: list[str]
    tree: ast.Module
    defined: dict[str, ast.stmt] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)
    hinted: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, name: str) -> "Source":
        """Return the source of a module, which is not imported."""
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        text = Path(found.origin).read_text(encoding="utf-8")
        made = cls(name, text.splitlines(), ast.parse(text))
        for statement in made.tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                made._add_import(statement)
            for defined in _names_defined(statement):
                made.defined[defined] = statement
        return made

    def _add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        module = statement.module if isinstance(statement, ast.ImportFrom) else None
        for alias in statement.names:
            name = alias.asname or alias.name
            if module is not None and module.split(".")[0] == PACKAGE:
                if name != alias.name:
                    raise ValueError(f"{self.name} imports {alias.name} as {name}; a copied name cannot change.")
                self.copied[name] = module
            else:
                by = f" as {alias.asname}" if alias.asname else ""
                self.imported[name.split(".")[0]] = module or "", f"{alias.name}{by}"

    def text(self) -> str:
        """Return the text of the needed definitions, in the order of the module, with their docstrings."""
        parts, body = [], self.tree.body
        for index, statement in enumerate(body):
            if not self.needed.isdisjoint(_names_defined(statement)):
                following = body[index + 1] if index + 1 < len(body) else statement
                end = following if _is_text(following) else statement
                decorators = getattr(statement, "decorator_list", [])
                first = min(part.lineno for part in (statement, *decorators))
                parts.append("\n".join(self.lines[first - 1 : end.end_lineno]))
        return "\n\n\n".join(parts)


def bundle(module: str, header: str) -> str:
    """Return the text of a module as one file, after a docstring.

    Args:
        module: name of the module.
        header: text of the docstring.

    Raises:
        ValueError: two modules define the same needed name, or a definition cannot be copied alone.
    """
    sources: dict[str, Source] = {module: Source.read(module)}
    order: list[str] = []
    imports: set[tuple[str, str]] = set()
    for name in list(sources[module].defined):
        _need(sources, module, name, imports)
    _sort(sources, module, order)
    owners: dict[str, str] = {}
    hints = sorted({name for source in sources.values() for name in source.hinted if name not in _needed(sources)})
    for name in order:
        for defined in sources[name].needed:
            if owners.setdefault(defined, name) != name:
                raise ValueError(f"{owners[defined]} and {name} both define {defined}; rename one of them.")
    if hints:
        imports.add(("typing", "Any"))
    classes = [f"{name} = Any  # the type of an argument that has no value here" for name in hints]
    parts = ["\n".join(classes)] if classes else []
    parts += [f"# From {name}\n\n{sources[name].text()}" for name in order if sources[name].needed]
    top = [f'"""{header}"""', "from __future__ import annotations", _import_lines(imports)]
    return "\n\n".join(top) + "\n\n\n" + "\n\n\n".join(parts) + "\n"


def _needed(sources: dict[str, Source]) -> set[str]:
    return {name for source in sources.values() for name in source.needed}


def _import_lines(imports: set[tuple[str, str]]) -> str:
    """Return statements for (module or "", what it is imported from it), the standard library first."""
    names: dict[str, list[str]] = {}
    for module, name in sorted(imports):
        names.setdefault(module, []).append(name)
    lines = [f"import {name}" for name in names.pop("", [])]
    lines += [f"from {module} import {', '.join(own)}" for module, own in names.items()]
    groups = [
        [line for line in lines if (line.split()[1].split(".")[0] in sys.stdlib_module_names) == own]
        for own in (True, False)
    ]
    return "\n\n".join("\n".join(group) for group in groups if group)


def _need(sources: dict[str, Source], module: str, name: str, imports: set[tuple[str, str]]) -> None:
    """Add a definition, and all that it uses, to the needed ones."""
    if module not in sources:
        sources[module] = Source.read(module)
    source = sources[module]
    if name in source.needed:
        return
    if name not in source.defined:
        raise ValueError(f"{module} does not define {name} itself; import it from the module that does.")
    statement = source.defined[name]
    source.needed.update(_names_defined(statement))
    for used in _names_used(statement):
        if used in source.defined:
            _need(sources, module, used, imports)
        elif used in source.copied:
            _need(sources, source.copied[used], used, imports)
    for used in _names_of(statement) - _names_used(statement):
        _need_hint(sources, source, used, imports)
    imports |= {source.imported[used] for used in _names_of(statement) if used in source.imported}


def _need_hint(sources: dict[str, Source], source: Source, name: str, imports: set[tuple[str, str]]) -> None:
    """Add what an annotation names: an alias of types is copied, and a class that nothing else uses is not."""
    module = source.name if name in source.defined else source.copied.get(name)
    if module is None:
        return
    if module not in sources:
        sources[module] = Source.read(module)
    if isinstance(sources[module].defined[name], ast.ClassDef):
        source.hinted.add(name)
    else:
        _need(sources, module, name, imports)


def _sort(sources: dict[str, Source], module: str, order: list[str]) -> None:
    """Append a module to the order, after those that it copies from."""
    for other in dict.fromkeys(sources[module].copied.values()):
        if other in sources and other not in order:
            _sort(sources, other, order)
    if module not in order:
        order.append(module)


def _names_defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _names_of(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _names_used(node: ast.AST) -> set[str]:
    """Return the names that a statement reads when it runs: annotations are not evaluated."""
    return {one.id for one in _evaluated(node) if isinstance(one, ast.Name)}


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _evaluated(child)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
