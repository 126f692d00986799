-- Where the log stands, and the time. Index: event_pkey, last entry.
SELECT greatest((SELECT max(revision) FROM jobwire.event), compacted, fence_floor), jobwire.now_us() FROM jobwire.meta
