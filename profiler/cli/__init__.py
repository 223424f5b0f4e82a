"""The command line: one module per verb, each with ``add`` (its arguments) and ``run`` (what it does).

Verbs import what they need when they run, so that ``weaklink --help`` takes no longer than Python and argparse.
"""
