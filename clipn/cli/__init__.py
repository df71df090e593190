"""The command `clipn`."""
