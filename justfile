# Recipes for work on weaklink.  On a machine without `just`: ./weaklink-dev RECIPE does the set-up and runs it.
# Each recipe does its own set-up as well, so that `just demo` works where `just` is there already.

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

_default:
    @just --list

# install what is missing: system packages, .venv
setup:
    @{{ if env("WEAKLINK_DEV_READY", "") == "" { "./weaklink-dev --version >/dev/null" } else { "true" } }}

# record the same app on every kernel that is here, verify, explain, report: out/demo/
demo *ARGUMENTS: setup
    weaklink demo --out out/demo {{ ARGUMENTS }}

# everything that must hold: linters, types, fast tests, recorded runs, real guests
test: lint
    pytest tests/unit -q -n 2
    pytest tests/golden -q -n 2
    pytest tests/guests -q -n 2 --dist loadfile

# style, types, and the direction of imports
lint: setup
    ruff check
    ruff format --check
    mypy
    lint-imports --no-cache

# what the probe costs, how long boot and start-up take
bench *ARGUMENTS: setup
    python -m tests.bench {{ ARGUMENTS }}

# the probe against strace, ktrace and OSv's tracepoints, in the same run, event by event; for the guests that are here
equality *ARGUMENTS: setup
    python -m tests.equality {{ ARGUMENTS }}

# damaged recordings, consoles and kernels, made at random: what do their readers make of them? exits 1 on any crash
fuzz *ARGUMENTS: setup
    python -m tests.fuzz {{ ARGUMENTS }}

# what explain says against what is known: planted causes, predictions, guests against themselves; exits 1 on any miss
truth *ARGUMENTS: setup
    python -m tests.truth {{ ARGUMENTS }}

# cause what can go wrong around a run, many times over, and judge what becomes of it; exits 1 on any miss
faults *ARGUMENTS: setup
    python -m tests.faults {{ ARGUMENTS }}
