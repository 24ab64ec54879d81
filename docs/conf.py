"""How the documentation is built: ``make docs``."""

from __future__ import annotations

from importlib.metadata import version as _version

project = "mako-cacheplug"
author = "The mako-cacheplug authors"
project_copyright = author
release = _version(project)
version = ".".join(release.split(".")[:2])

extensions = ["sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"{project} {release}"
exclude_patterns = ["_build"]
highlight_language = "python"
default_role = "literal"

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
autodoc_class_signature = "separated"

# Every reference has to lead somewhere, except to what is documented
# elsewhere and to names that a docstring uses without their module.
nitpicky = True
nitpick_ignore = [
    ("py:attr", "port"),
    ("py:class", "CacheBackend"),
    ("py:class", "CacheEvent"),
    ("py:class", "CacheRegion"),
    ("py:class", "Context"),
    ("py:data", "NO_VALUE"),
    ("py:exc", "Exception"),
    ("py:meth", "CacheImpl.get_or_create"),
]
nitpick_ignore_regex = [
    (r"py:.*", r"(abc|collections|enum|mako|pytest|typing)\.[\w.]+"),
]
