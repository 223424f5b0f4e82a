"""FreeBSD: a stock kernel without a loader, the app on a disk that init has read before the window."""
