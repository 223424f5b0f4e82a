"""``weaklink apps``: which apps there are, the beginning of one of your own, the format of app.toml."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Declare the verbs."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "apps", help="list apps, begin one of your own", description="What can be run."
    )
    inner = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = inner.add_parser(
        "list", help="the apps that come with weaklink, and their phases", description="Each app and its phases."
    )
    listing.set_defaults(run=run)
    making = inner.add_parser(
        "new", help="begin an app of your own",
        description="Writes a folder with an app.toml and one C source of two phases, which runs as it is.",
    )  # fmt: skip
    making.add_argument("name", metavar="NAME", help="a lower-case word")
    making.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="where it is written (default: NAME)")
    making.set_defaults(run=new)
    printing = inner.add_parser(
        "schema",
        help="print the JSON Schema of app.toml",
        description="Prints the JSON Schema of app.toml, for editors.",
    )
    printing.set_defaults(run=schema)


def run(arguments: argparse.Namespace) -> int:
    """Do ``list``."""
    import textwrap

    from images import apps

    for app in map(apps.load, apps.names()):
        print(f"{app.name}: {app.description}")
        phases = f"{len(app.phases)} phases: {', '.join(phase.name for phase in app.phases)}"
        print(textwrap.fill(phases, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
    return 0


def new(arguments: argparse.Namespace) -> int:
    """Do ``new``."""
    import shlex

    from images import list_guests
    from images.apps import starting
    from profiler.cli import demo

    folder = arguments.folder or Path(arguments.name)
    for file in starting.write(arguments.name, folder):
        print(file)
    guests, _ = demo.live({guest.name for guest in list_guests() if guest.state == "ready"})
    where = shlex.quote(str(folder) if folder.is_absolute() else f"./{folder}")
    out = f"out/{arguments.name}"
    print("\nIt runs as it is:\n")
    print(f"    weaklink run {where} --guests {','.join(guests)} --seeds {demo.SEEDS} --out {out}")
    print(f"    weaklink verify {out}")
    print(f"    weaklink explain {out} --against {demo.AGAINST}")
    return 0


def schema(arguments: argparse.Namespace) -> int:
    """Do ``schema``."""
    from images.apps import checked

    print(checked.SCHEMA.read_text(encoding="utf-8"), end="")
    return 0
