"""How the documentation is built; CONTRIBUTING.md says with which commands.

The package that is described is the installed one. Nothing is fetched: no inventories of other
projects, no fonts, no scripts.
"""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import esxcore

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "esxcore"
author = "The esxcore authors"
copyright = f"{author}; MIT or Apache-2.0"
release = version = esxcore.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "from_code",
    "notebooks",
]
exclude_patterns = ["_*", "**/_*"]
default_role = "py:obj"  # as docstrings use it: `Host.advance`

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say it in words
autodoc_default_options = {"members": True}
python_display_short_literal_types = True
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# Examples in docstrings are run by pytest; here those of the pages are, each page by itself.
doctest_test_doctest_blocks = ""
doctest_default_flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
doctest_global_setup = """
import os, tempfile
_folder, _before = tempfile.TemporaryDirectory(), os.getcwd()
os.chdir(_folder.name)
"""
doctest_global_cleanup = "os.chdir(_before); _folder.cleanup()"

html_theme = "furo"
html_title = f"esxcore {release}"
html_static_path = ["_static"]
html_css_files = ["esxcore.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
