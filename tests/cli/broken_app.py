"""An app that cannot be imported, for the tests."""

raise RuntimeError("the database is not there")
