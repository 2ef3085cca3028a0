"""How the documentation site is made; `make docs` runs it on a copy of this folder, beside the rendered tutorials."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pages import PublicNames, only_its_own, resolve, write_help, write_modules

from ppl_scaling import __version__

project = "ppl-scaling"
author = "The ppl-scaling authors"
copyright = "2026, the ppl-scaling authors"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax and its fonts as part of the site: formulas need no network
]
html_theme = "furo"
html_title = "ppl-scaling"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
exclude_patterns = ["_build"]

nb_execution_mode = "off"  # the notebooks are there with what they print
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]  # the second: a word that is the name of two classes

autosummary_generate = False  # pages are made by module, see pages.py
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_google_docstring = False
napoleon_custom_sections = [
    ("Attributes", "params_style"),  # their names are no links
    "Calibration and the power",
    "Cost",
    "Rows",
    "Target",
    "Token blocks",
]
napoleon_use_rtype = False
napoleon_use_admonition_for_examples = True

# Links to anything of this library must be found; types of others, and descriptions such as "float array", need not.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!ppl_scaling\.).*"),
    (r"py:.*", r"ppl_scaling\..*\._\w+"),
    (
        r"py:.*",
        r"ppl_scaling\..*\.(FiniteSession|FiniteRewardSession|Model|Observed)",
    ),  # inner, though they are in signatures
]


def setup(app):
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-skip-member", only_its_own)
    app.connect("missing-reference", resolve)
    app.connect("config-inited", lambda app, config: (write_modules(Path(app.srcdir)), write_help(Path(app.srcdir))))
