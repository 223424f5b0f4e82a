"""The command line and one campaign: runs guests, leaves recordings, asks analysis what they mean."""

__version__ = "0.1.0"
