"""Linux kernels from Debian's archive."""
