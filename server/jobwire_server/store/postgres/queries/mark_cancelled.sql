-- Keeps when and why a job was cancelled, in the transaction that cancels it (before the move, so its event shows it).
UPDATE job
SET cancel_us = coalesce(cancel_us, %(now)s::bigint), cancel_reason = %(reason)s::text
WHERE key = %(key)s::bigint
