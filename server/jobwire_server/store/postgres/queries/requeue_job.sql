-- RetryJob: back to PENDING or SCHEDULED with fresh attempts; what the last generation left is cleared.
UPDATE job
SET
  state = %(state)s::smallint,
  max_attempts = attempt + %(granted)s::integer,
  losses = 0,
  due_us = %(due_us)s::bigint,
  schedule_us = coalesce(%(schedule_us)s::bigint, schedule_us),
  expire_us = CASE WHEN expire_us <= %(now)s::bigint THEN NULL ELSE expire_us END,
  last_error = NULL,
  cancel_us = NULL,
  cancel_reason = NULL,
  finish_us = NULL,
  purge_us = NULL,
  result_form = NULL,
  result_type = NULL,
  result_encoding = NULL,
  result_size = 0,
  result = NULL,
  progress_percent = NULL,
  progress_message = NULL,
  revision = %(revision)s::bigint,
  sequence = sequence + 1,
  change_us = %(now)s::bigint
WHERE key = %(key)s::bigint AND state = %(seen)s::smallint
