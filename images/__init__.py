"""What boots: guests (kernels and how they run an app), apps, and the store of downloaded artifacts."""
