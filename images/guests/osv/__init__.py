"""OSv: one kernel file for every app, which comes on a disk of its own."""
