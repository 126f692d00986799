"""The SQLite driver: one file, one writer thread with group commit, a few readers."""
