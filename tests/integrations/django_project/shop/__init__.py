"""An app of it."""
