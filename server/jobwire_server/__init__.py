"""The jobwire server."""
