"""One module a command; see `twin.cli`."""
