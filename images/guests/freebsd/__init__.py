"""FreeBSD: a stock kernel without a loader, the app on a disk in memory."""
