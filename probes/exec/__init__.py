"""The exec probe: a QEMU plugin that sees every instruction of the guest, how it is set up, and how it is read."""
