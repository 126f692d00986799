-- Epoch, newest revision (a floor when the log is empty, or of another life) and floor of the log. Index: event_pkey, last
-- entry.
SELECT epoch, greatest((SELECT max(revision) FROM event), compacted, fence_floor), compacted FROM meta
