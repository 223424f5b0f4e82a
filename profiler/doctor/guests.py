"""The kernels: which can be booted, whether they are what they were, and whether the demo's can be had."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from typing import Final

from profiler.doctor.check import Check, missing
from profiler.errors import ToolMissing, WeaklinkError

_WITHOUT_APT: Final = (
    "use a Debian; elsewhere, `weaklink run` takes a kernel of yours:"
    " weaklink guests add NAME --kind linux --kernel FILE"
)


def checks(base: str, others: Collection[str]) -> Iterator[Check]:
    """One check per guest: the demo needs ``base``, and has ``others`` where their kernels are here."""
    from images import catalog, list_guests

    try:
        listed, states = list_guests(), dict(catalog.verify())
    except WeaklinkError as failure:
        yield missing("guests", base, "the demo", failure)
        return
    for guest in listed:
        value = f"{guest.kind} {guest.version}".strip() if guest.version else None
        state, trouble = states.get(guest.name, ""), ""
        if state in ("changed", "missing"):
            trouble = f"its files in the cache are {state}"
        what = "the demo" if guest.name in {base, *(spec.partition(":")[0] for spec in others)} else "--guests"
        if state == "ok":
            yield Check("guests", guest.name, value, what, required=guest.name == base)
        elif guest.name == base:
            yield _fetchable(guest.name, what, trouble)
        elif not trouble and guest.state == "fetched on first use":
            yield Check("guests", guest.name, None, what, "ok", guest.state)
        else:
            again = "weaklink fetches its own again; add yours again with `weaklink guests add` and --replace"
            instead = "; the demo shows recordings of it instead" if what == "the demo" else ""
            yield Check("guests", guest.name, value if trouble else None, what, "limited",
                        trouble or f"{guest.state}{instead}", again if trouble else guest.description)  # fmt: skip


def _fetchable(name: str, what: str, trouble: str) -> Check:
    """Whether the distribution has the kernel, by the lists that are here, and whether its mirror can be reached."""
    from images import debian, guests

    source = guests.load(name).source
    try:
        for tool in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise ToolMissing(
                    f"{trouble or 'it is not here'}, and without {tool} it cannot be fetched",
                    hint=_WITHOUT_APT,
                )
        package = debian.resolve(source["package"], source["kernel_package"])
        reached = debian.reach(source["package"])
    except WeaklinkError as failure:
        return missing("guests", name, what, failure)
    when = f"{trouble}, so it is fetched again" if trouble else "fetched on first use"
    value, size = f"{package.name} {package.version}", f"{package.size / 1e6:.0f} MB"
    if reached:
        return Check("guests", name, value, what, "ok", f"{when}, {size}", required=True)
    return Check(
        "guests", name, value, what, "limited", f"{when}, {size}; whether the network is there was not tried",
        "see that apt-get can reach its mirror: as root, apt-get update", required=True,
    )  # fmt: skip
