"""The documentation as a site: `sphinx-build -W docs site`; the same pages read on GitHub."""

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from seqgan_jax import __version__

project = "seqgan-jax"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {
    "description": "New sequences from recorded ones",
    "page_width": "1280px",
    "body_max_width": "none",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
default_role = "literal"  # `x` in a docstring is code
smartquotes = False  # -- is a flag
toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # they are in the signatures, and docstrings say what each is


def setup(app: Sphinx) -> None:
    """What commands and snippets print is a language of its own here: plain text."""
    app.add_lexer("output", TextLexer)
