"""The apps: a folder each with ``app.toml`` and C sources, and the one function that compiles them.

What all of them share (arguments, windows, report) is in ``common``.
"""

from images.apps.builder import build
from images.apps.describe import App, Phase, load, names, read

__all__ = ["App", "Phase", "build", "load", "names", "read"]
