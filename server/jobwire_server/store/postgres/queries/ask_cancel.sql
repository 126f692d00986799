-- Records the wish to cancel a running job (its state does not change; the worker is asked).
UPDATE job
SET
  cancel_us = %(now)s::bigint,
  cancel_reason = %(reason)s::text,
  revision = %(revision)s::bigint,
  sequence = sequence + 1,
  change_us = %(now)s::bigint
WHERE key = %(key)s::bigint AND state IS NOT DISTINCT FROM 3 AND cancel_us IS NULL
