-- Epoch, newest revision (the floor when the log is empty) and floor of the log. Index: event_pkey, last entry.
SELECT epoch, greatest((SELECT max(revision) FROM event), compacted), compacted FROM meta
