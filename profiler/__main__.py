"""``python -m profiler``: the same as the command ``weaklink``."""

from profiler.cli.main import console_script

if __name__ == "__main__":
    console_script()
