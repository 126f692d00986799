"""`make interop`: builds the examples of every language and has `jobwire conformance` judge them."""
