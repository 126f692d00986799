"""The server's commands: `jobwire dev`, `serve` and `db`. They parse, call one thing, and print."""
