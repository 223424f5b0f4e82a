"""``weaklink doctor``: what this machine can do."""

from __future__ import annotations

import argparse
from typing import Any


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "doctor",
        help="say what this machine can do",
        description="Lists QEMU, compiler, cache, and what the probe can have from this QEMU. What cannot be had is"
        " null, with the reason. Exits with the code of the first thing that is needed and missing.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    import json

    from profiler.doctor import examine

    findings = examine()
    if arguments.json:
        rows = [{"area": f.area, "name": f.name, "value": f.value, "reason": f.reason} for f in findings]
        print(json.dumps(rows, indent=1))
    else:
        width = max(len(finding.name) for finding in findings)
        area = ""
        for finding in findings:
            if finding.area != area:
                area = finding.area
                print(area)
            value = "null" if finding.value is None else finding.value
            print(f"  {finding.name:<{width}}  {value}{f'  ({finding.reason})' if finding.reason else ''}")
    failure = next((finding.failure for finding in findings if finding.failure), None)
    if failure is not None:
        raise failure
    return 0
