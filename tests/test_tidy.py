"""Rules of the cores that no linter knows, each with what to write instead, and controls which show that they bite.

The one rule: a core gives the same answers under every hash seed and at every time of day, so nothing in it may depend on either.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKERS = ("router", "notifier", "transcript", "crm_sync")

ORDER_FREE = {
    "sorted",
    "len",
    "set",
    "frozenset",
    "min",
    "max",
    "sum",
    "any",
    "all",
    "bool",
    "isinstance",
}
"""Callers for which a set's order makes no difference (`min` and `max` need a total key, as everywhere)."""

ORDERED = {"list", "tuple", "iter", "enumerate", "dict", "zip", "map", "filter", "reversed", "chain"}
CLOCKS = {"now", "utcnow", "today"}


def cores() -> list[Path]:
    found = []
    for worker in WORKERS:
        folder = ROOT / "services" / worker
        found += sorted((folder / "core").rglob("*.py"))
        found += [path for path in [folder / "core.py"] if path.exists()]
    return found


def is_set_hint(node: ast.AST) -> bool:
    text = ast.unparse(node)
    return (
        text.startswith(("set[", "frozenset[", "Set[", "AbstractSet[", "set", "frozenset"))
        and "(" not in text
    )


def set_names(trees: list[ast.Module]) -> set[str]:
    """Names of fields that are declared as sets anywhere in the cores."""
    return {
        node.target.id
        for tree in trees
        for klass in ast.walk(tree)
        if isinstance(klass, ast.ClassDef)
        for node in klass.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and is_set_hint(node.annotation)
    }


class Finder:
    """Finds in one module what a core must not do."""

    def __init__(self, tree: ast.Module, fields: set[str]) -> None:
        self._fields = fields
        self._tree = tree

    def findings(self) -> Iterator[tuple[int, str]]:
        scopes = [
            node
            for node in ast.walk(self._tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module)
        ]
        seen: set[tuple[int, str]] = set()
        for scope in scopes:
            local = self._locals(scope)
            for node in ast.walk(scope):
                for finding in self._judge(node, local):
                    if finding not in seen:
                        seen.add(finding)
                        yield finding

    def _locals(self, scope: ast.AST) -> set[str]:
        names: set[str] = set()
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
            names |= {
                each.arg for each in arguments if each.annotation is not None and is_set_hint(each.annotation)
            }
            for node in ast.walk(scope):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    if is_set_hint(node.annotation):
                        names.add(node.target.id)
                elif isinstance(node, ast.Assign) and self._is_set(node.value, names):
                    names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        return names

    def _is_set(self, node: ast.AST, local: set[str]) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.Call(
                func=ast.Attribute(
                    attr="union" | "intersection" | "difference" | "symmetric_difference" | "copy",
                    value=value,
                )
            ):
                return self._is_set(value, local)
            case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), left=left, right=right):
                return self._is_set(left, local) or self._is_set(right, local)
            case ast.Name(id=name):
                return name in local
            case ast.Attribute(attr=name):
                return name in self._fields
        return False

    def _judge(self, node: ast.AST, local: set[str]) -> Iterator[tuple[int, str]]:
        match node:
            case ast.For(iter=over) if self._is_set(over, local):
                yield node.lineno, "iterates over a set: write sorted(…)"
            case (ast.ListComp() | ast.DictComp()) as comprehension:
                for generator in comprehension.generators:
                    if self._is_set(generator.iter, local):
                        yield comprehension.lineno, "iterates over a set: write sorted(…)"
            case ast.Starred(value=value) if self._is_set(value, local):
                yield node.lineno, "unpacks a set: write sorted(…)"
            case ast.Call(func=ast.Name(id="hash" | "id" as name)):
                yield (
                    node.lineno,
                    f"calls {name}(), which differs between runs: compare the values themselves",
                )
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                yield node.lineno, f"reads a clock ({name}): take the time from the record"
            case ast.Call(func=ast.Attribute(attr="pop", value=value), args=[]) if self._is_set(value, local):
                yield node.lineno, "pops from a set: take min(…) with a total key"
            case ast.Call(func=function, args=arguments):
                name = ast.unparse(function).rsplit(".", 1)[-1]
                if name in ORDERED or name in ("join", "extend"):
                    for argument in arguments:
                        if self._is_set(argument, local):
                            yield node.lineno, f"{name} takes a set in its own order: write sorted(…)"
                if name not in ORDER_FREE:
                    for argument in arguments:
                        if isinstance(argument, ast.GeneratorExp) and any(
                            self._is_set(generator.iter, local) for generator in argument.generators
                        ):
                            yield node.lineno, f"{name} iterates over a set: write sorted(…)"


def findings(sources: dict[str, str]) -> list[str]:
    trees = {name: ast.parse(text) for name, text in sources.items()}
    fields = set_names(list(trees.values()))
    return [
        f"{name}:{line}: {said}"
        for name, tree in trees.items()
        for line, said in Finder(tree, fields).findings()
    ]


def test_cores_depend_on_no_hash_seed_and_no_clock() -> None:
    paths = cores()
    assert paths, "there are cores"
    sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    assert findings(sources) == []


FLAGGED = [
    "def f(x):\n    for a in {1, 2}: ...",
    "def f(x):\n    for a in set(x): ...",
    "def f(x: set[str]):\n    for a in x: ...",
    "def f(x: frozenset[str]):\n    return [a for a in x]",
    "def f(x: set[str]):\n    return list(x)",
    "def f(x: set[str]):\n    return {a: 1 for a in x - {'b'}}",
    "def f(x: set[str]):\n    return tuple(a for a in x)",
    "def f(x: set[str]):\n    return ', '.join(x)",
    "def f(x: set[str]):\n    return next(iter(x))",
    "def f(x: set[str]):\n    return x.pop()",
    "def f(x: set[str]):\n    return [*x]",
    "def f(x):\n    y = {a for a in x}\n    for b in y: ...",
    "class C:\n    ids: set[str]\ndef f(c):\n    for a in c.ids: ...",
    "class C:\n    ids: frozenset[str] = frozenset()\ndef f(c):\n    return list(c.ids | {'x'})",
    "def f(x):\n    return hash(x)",
    "def f(x):\n    return sorted(x, key=lambda a: id(a))",
    "def f():\n    return datetime.now(UTC)",
]
ALLOWED = [
    "def f(x: set[str]):\n    for a in sorted(x): ...",
    "def f(x: set[str]):\n    return sorted(a for a in x)",
    "def f(x: set[str]):\n    return len(x), any(a for a in x), 'a' in x",
    "def f(x: set[str]):\n    x.add('a'); x.discard('b')",
    "def f(x: dict[str, int]):\n    for a in x: ...",
    "def f(x: list[str]):\n    return x.pop()",
    "def f(x: set[str]):\n    return {a for a in x if a}",
    "class C:\n    ids: list[str]\ndef f(c):\n    for a in c.ids: ...",
]


@pytest.mark.parametrize("source", FLAGGED)
def test_what_depends_on_it_is_found(source: str) -> None:
    assert findings({"m.py": source}), source


@pytest.mark.parametrize("source", ALLOWED)
def test_what_does_not_is_left_alone(source: str) -> None:
    assert findings({"m.py": source}) == []
