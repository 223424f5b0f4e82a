"""Becomes QEMU, after asking the kernel to kill it when the parent dies.

Run as a script: ``python -I -S launch.py PARENT_PID PROGRAM ARGUMENT...``.  A wrapper rather than ``preexec_fn``, which
is unsafe in a process with threads (rich and qemu.qmp have some); it costs about 20 ms and the process id stays the
same, so that the handle of the child is QEMU's.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Replace this process; says why on stderr and ends with 127 where that is impossible."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.stderr.write(f"launch: prctl: {os.strerror(ctypes.get_errno())}\n")
    if os.getppid() != parent:  # it died before prctl could notice
        os._exit(127)
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"launch: {argv[0]}: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
