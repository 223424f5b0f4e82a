"""One QEMU: its command line, its console, its control socket, and the verdict on how it ended."""
