"""The README's example and its tables of settings and metrics, read off the example itself, the settings models and the list of metrics.

The one rule: nothing is written here twice; a setting that is not described in its model is an error. `python -m services.local.docs`
writes the tables, with `--check` it only says whether they are as they should be.
"""

import pkgutil
import sys
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import services
from schemas import marked
from services.runtime.series import DEFINITIONS
from services.runtime.settings import RuntimeSettings

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
EXAMPLE = ROOT / "docs" / "examples" / "frontend.py"

_READERS = {"runtime": "every worker", "local": "the command line"}
_MODULES = ("settings", "worker")
"""Where in a package its settings may stand."""
_COMPUTED = "see right"


def settings_classes() -> dict[str, list[type[BaseSettings]]]:
    """Return the settings models by the package they belong to, the runtime's first."""
    packages = [found.name for found in pkgutil.iter_modules(services.__path__) if found.ispkg]
    packages.sort(key=lambda name: (name != "runtime", name == "local", name))
    found: dict[str, list[type[BaseSettings]]] = {}
    for package in packages:
        modules = [name for name in (f"services.{package}.{part}" for part in _MODULES) if find_spec(name)]
        models = [
            item
            for module in modules
            for item in vars(import_module(module)).values()
            if isinstance(item, type) and issubclass(item, BaseSettings) and item.__module__ == module
        ]
        if models:
            found[package] = sorted(models, key=lambda model: model.__name__)
    return found


def settings_table() -> str:
    """Return the table of environment variables; of a worker only what it adds to every worker's, or sets otherwise."""
    rows = [
        (
            f"`{model.model_config['env_prefix']}{name}`".upper(),
            _default(field),
            reader,
            _said(model, name, field),
        )
        for package, models in settings_classes().items()
        for model in models
        for reader in [_READERS.get(package, package)]
        for name, field in model.model_fields.items()
        if not _is_inherited(model, name, field)
    ]
    return marked.table(("variable", "default", "read by", "meaning"), rows)


def metrics_table() -> str:
    """Return the table of metrics."""
    rows = [
        (f"`{each.full_name}`", each.exposed, each.unit, ", ".join(each.labels), each.help)
        for each in DEFINITIONS
    ]
    return marked.table(("metric", "type", "unit", "labels", "meaning"), rows)


def _is_inherited(model: type[BaseSettings], name: str, field: FieldInfo) -> bool:
    if model is RuntimeSettings or not issubclass(model, RuntimeSettings):
        return False
    base = RuntimeSettings.model_fields.get(name)
    return base is not None and base.default == field.default


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return _COMPUTED  # it differs between machines
    if value is None:
        return "–"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        value = ",".join(map(str, value))
    return f"`{value}`" if str(value) else "empty"


def _said(model: type[BaseSettings], name: str, field: FieldInfo) -> str:
    said = field.description or (
        RuntimeSettings.model_fields[name].description if name in RuntimeSettings.model_fields else None
    )
    if not said:
        raise ValueError(f"{model.__name__}.{name} has no description")
    return said


def page(text: str) -> str:
    """Return a page with its example and its tables of settings and metrics made anew."""
    example = f"```python\n{EXAMPLE.read_text(encoding='utf-8').strip()}\n```"
    text = marked.replace(text, name="example", body=example)
    text = marked.replace(text, name="settings", body=settings_table())
    return marked.replace(text, name="metrics", body=metrics_table())


def main() -> None:
    """Run the command; with `--check`, exit 1 where the tables are not what the models give."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: python -m services.local.docs [--check]")
    same = marked.put(README, page(README.read_text(encoding="utf-8")), check=check)
    if check and not same:
        sys.exit(
            "README.md differs from the settings and metrics: run make generate and commit what it writes."
        )


if __name__ == "__main__":
    main()
