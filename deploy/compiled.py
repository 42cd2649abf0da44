"""Compiles the router's core with mypyc: the same modules, twice as fast. Without a C compiler they run as they are.

    python deploy/compiled.py        puts the compiled modules beside the sources, for a working copy

A wheel is built with them, for one platform; where they can't be compiled it is one of plain Python, and the build says so.
The one rule: what is compiled is what stands in `services/router/core`, and nothing else knows of it.
"""

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CORE = "services/router/core"
LIBRARY = "chat_routing_core"
"""Stem of the shared library that holds them all; each compiled module is a door into it."""


def compiled(root: Path) -> list[Path]:
    """The compiled modules and their library under `root`, oldest builds included."""
    return sorted([*root.glob(f"{CORE}/*.so"), *root.glob(f"{LIBRARY}__mypyc*.so")])


def compile_core(root: Path) -> None:
    """Compiles in place. Exits with a message where mypyc, setuptools or a C compiler is missing, or types do not fit."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    for old in compiled(root):
        old.unlink()
    os.chdir(root)  # mypy reads its settings from here
    sources = sorted(str(path) for path in Path(CORE).glob("*.py") if path.name != "__init__.py")
    modules = mypycify(sources, group_name=LIBRARY, target_dir="build/core", debug_level="0")
    build = Distribution({"name": LIBRARY, "ext_modules": modules}).get_command_obj("build_ext")
    build.inplace, build.build_temp, build.build_lib = True, "build/core", "build/core"
    build.ensure_finalized()
    build.run()
    for made in compiled(root):
        made.touch()  # what came out the same as last time is copied with its old date, and would pass for out of date


class CompiledCore(BuildHookInterface[Any]):
    """hatchling's hook: a wheel gets compiled modules, and says for which Python and platform it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version`: "standard" for a wheel; an editable installation uses what stands in the working copy."""
        if version != "standard":
            return
        root = Path(self.root)
        try:
            compile_core(root)
        except (ImportError, SystemExit, OSError) as error:
            self.app.display_warning(
                f"The router's core is not compiled and will take twice as long: {error}"
            )
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update(
            {str(path): str(path.relative_to(root)) for path in compiled(root)}
        )


if __name__ == "__main__":
    try:
        compile_core(Path(__file__).parent.parent)
    except (ImportError, SystemExit, OSError) as error:
        sys.exit(f"The router's core can't be compiled, and runs as plain Python: {error}")
