"""Who wants to know what: one tail of the event log feeds all watchers of this process.

Nothing here is truth: the ring, the index and the watchers may be lost at any moment, and the log still holds
every event. A watcher is a cursor on that log.
"""
