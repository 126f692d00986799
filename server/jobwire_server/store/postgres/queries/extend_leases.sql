-- Heartbeats: 0 key, 1 fence, 2 lease_us, 3 progress percent or null, 4 progress message or null, 5 whether a checkpoint
-- came with it. Fenced; no event. A job that shall be cancelled is not kept alive beyond the grace that it has for that;
-- `least` passes over what is NULL. Index: job_pkey.
UPDATE job
SET
  lease_expire_us = least(
    %(now)s::bigint + (r.value ->> 2)::bigint,
    start_us + timeout_us + %(grace_us)s::bigint,
    cancel_us + %(cancel_grace_us)s::bigint
  ),
  progress_percent = coalesce((r.value ->> 3)::double precision, progress_percent),
  progress_message = coalesce(r.value ->> 4, progress_message),
  checkpointed = greatest(checkpointed, (r.value ->> 5)::smallint)
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
WHERE job.key = (r.value ->> 0)::bigint AND job.state IS NOT DISTINCT FROM 3 AND job.fence = (r.value ->> 1)::bigint
