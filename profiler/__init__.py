"""The command line and one campaign: runs guests, leaves recordings, asks analysis what they mean."""

from typing import Final

__version__: Final = "0.1.0"
