"""Sphinx configuration. `make docs` runs `docs/generate.py` first."""

project = "Silicast"
author = "The Silicast developers"
copyright = "2026, The Silicast developers"  # noqa: A001 - the name that Sphinx reads
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
# pages under generated/ are included by other pages
exclude_patterns = ["_build", "generated"]
html_theme = "furo"
html_title = "Silicast"
myst_heading_anchors = 3
