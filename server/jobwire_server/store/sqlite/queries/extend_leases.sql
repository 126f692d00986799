-- Heartbeats: 0 key, 1 fence, 2 lease_us, 3 progress percent or NULL, 4 progress message or NULL, 5 whether a checkpoint
-- came with it. Fenced; no event. A job that shall be cancelled is not kept alive beyond the grace that it has for that.
UPDATE job
SET
  lease_expire_us = min(
    :now + (r.value ->> 2),
    coalesce(start_us + timeout_us + :grace_us, :now + (r.value ->> 2)),
    coalesce(cancel_us + :cancel_grace_us, :now + (r.value ->> 2))
  ),
  progress_percent = coalesce(r.value ->> 3, progress_percent),
  progress_message = coalesce(r.value ->> 4, progress_message),
  checkpointed = max(checkpointed, r.value ->> 5)
FROM jsonb_each(:rows) AS r
WHERE job.key = r.value ->> 0 AND state = 3 AND fence = r.value ->> 1
