"""Pages of the site that are made, not written: one for each module, and the help of each command."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

from docutils.statemachine import StringList
from sphinx.ext.autosummary import Autosummary

PACKAGES = [
    "ppl_scaling.models",
    "ppl_scaling.models.scores",
    "ppl_scaling.inference",
    "ppl_scaling.inference.baselines",
    "ppl_scaling.inference.optscale",
    "ppl_scaling.backends",
    "ppl_scaling.backends.reward_models",
    "ppl_scaling.tasks",
    "ppl_scaling.diagnostics",
]
SINGLE = ["ppl_scaling.interfaces", "ppl_scaling.errors", "ppl_scaling.log_weights", "ppl_scaling.arviz_export"]
COMMANDS = ["solve", "problems", "evaluate", "curve", "diagnose", "calibrate"]

_MODULE = """{title}
{line}

.. automodule:: {name}
   :members:
   :show-inheritance:
"""


def places(package):
    """Map each name that a package makes public to the module that defines it."""
    module = importlib.import_module(package)
    found = {}
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found.update({alias.asname or alias.name: (node.module, alias.name) for alias in node.names})
    names = {}
    for name in module.__all__:
        where, original = found.get(name, (package, name))
        inner = importlib.import_module(where)
        if hasattr(inner, "__path__") and where != package:  # from one package through another
            where = places(where)[original]
        names[name] = where
    return names


class PublicNames(Autosummary):
    """A table of names of a package, each linked to where it is explained: `{public-names} ppl_scaling.models`."""

    required_arguments = 1

    def run(self):
        where = places(self.arguments[0])
        names = [line.strip() for line in self.content if line.strip()]
        unknown = [name for name in names if name not in where]
        if unknown:
            raise self.error(f"{self.arguments[0]} has no public {', '.join(unknown)}")
        lines = [f"~{where[name]}.{name}" for name in names]
        self.content = StringList(lines, items=[(self.env.docname, self.lineno)] * len(lines))
        return super().run()


def write_modules(source):
    """Write a page for every module: into `modules/` if a package makes something in it public, else into `inside/`."""
    public = {where for package in PACKAGES for where in places(package).values()} | set(SINGLE)
    names = [
        f"{package}.{one.name}"
        for package in PACKAGES
        for one in pkgutil.iter_modules(importlib.import_module(package).__path__)
        if not one.ispkg
    ]
    for name in [*names, *SINGLE]:
        package, _, short = name.rpartition(".")
        title = short.replace("_", " ").capitalize()
        path = source / ("modules" if name in public else "inside") / package / f"{short}.rst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_MODULE.format(title=title, line="=" * len(title), name=name), encoding="utf-8")


def write_help(source):
    """Write what `ppl-scaling COMMAND --help` prints into `help/`."""
    folder = source / "help"
    folder.mkdir(exist_ok=True)
    for command in COMMANDS:
        ran = subprocess.run(
            [sys.executable, "-c", "from ppl_scaling.cli import main; main()", command, "--help"],
            env=os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        text = ran.stdout.replace("Usage: -c ", "Usage: ppl-scaling ")
        (folder / f"{command}.txt").write_text(text, encoding="utf-8")
