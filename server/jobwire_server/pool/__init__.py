"""The server's own bounded pool: the worker runtime, fed by the dispatcher in the same process."""
