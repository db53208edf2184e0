"""The commands: arguments, one call, one exit status."""
