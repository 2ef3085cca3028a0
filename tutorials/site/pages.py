"""Pages of the site that are made, not written: one for each module, and the help of each command."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import FunctionType

from docutils.statemachine import StringList
from sphinx.ext.autosummary import Autosummary
from typer.testing import CliRunner

from ppl_scaling.cli import app

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
SINGLE = [
    f"ppl_scaling.{name}"
    for name in (
        *("interfaces", "errors", "arguments", "log_weights", "arviz_export", "token_law", "draw_statistics", "pareto"),
        *("boxed", "seeding", "drafts"),
    )
]
SPELLED = {"smc": "SMC", "gibbs": "Gibbs", "arviz": "ArviZ", "svi": "SVI", "nuts": "NUTS", "laplace": "Laplace", "lm": "LM"}
COMMANDS = ["solve", "problems", "evaluate", "curve", "diagnose", "calibrate"]

_MODULE = """{title}
{line}

{imported}

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
        where, _ = found.get(name, (package, name))
        thing = getattr(module, name)
        names[name] = thing.__module__ if isinstance(thing, type | FunctionType) else where  # data do not know their module
    return names


def resolve(sphinx, env, node, contnode):
    """Find what a link calls by a name that it can be imported by, where it is explained by the name of its definition."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    if node.get("refdomain") != "py" or not module.startswith("ppl_scaling"):
        return None
    try:
        thing = getattr(importlib.import_module(module), name)
        real = f"{thing.__module__}.{thing.__qualname__}"
    except (ImportError, AttributeError):
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], sphinx.builder, node["reftype"], real, node, contnode)


def only_its_own(sphinx, what, name, thing, skip, options):
    """Leave out of a module's page what it has from another one, so that everything is explained once."""
    here = sphinx.env.current_document.autodoc_module if what == "module" else ""
    if here and isinstance(thing, type | FunctionType) and thing.__module__ != here:
        return True
    return None


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
        self.env.ref_context.pop("py:module", None)  # names are whole, whatever module the page has spoken of
        return super().run()


def write_modules(source):
    """Write a page for every module: into `modules/` if a package makes something in it public, else into `inside/`."""
    public = {name: (name, []) for name in SINGLE}  # for each module, what is imported from where
    for package in PACKAGES:
        for name, where in places(package).items():
            origin, found = public.setdefault(where, (package, []))
            if origin == package:
                found.append(f"``{name}``")
    names = [
        f"{package}.{one.name}"
        for package in PACKAGES
        for one in pkgutil.iter_modules(importlib.import_module(package).__path__)
        if not one.ispkg
    ]
    for name in [*names, *SINGLE]:
        package, _, short = name.rpartition(".")
        title = " ".join(SPELLED.get(word, word) for word in short.split("_"))
        title = title[0].upper() + title[1:]
        origin, found = public.get(name, ("", []))
        imported = f"From ``{origin}``: {', '.join(found)}." if found else f"Module ``{name}``."
        path = source / ("modules" if name in public else "inside") / package / f"{short}.rst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_MODULE.format(title=title, line="=" * len(title), name=name, imported=imported), encoding="utf-8")


def write_help(source):
    """Write what `ppl-scaling COMMAND --help` prints into `help/`."""
    folder = source / "help"
    folder.mkdir(exist_ok=True)
    for command in COMMANDS:
        ran = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "100"}, prog_name="ppl-scaling")
        (folder / f"{command}.txt").write_text(ran.stdout, encoding="utf-8")
