-- Raises the floor of the log, in the transaction that removes what lies below it.
UPDATE meta SET compacted = %(revision)s::bigint
