-- Records successes (Event.SUCCEED). Fenced. Small results come in one blob, with offset and length.
UPDATE job
SET
  state = :state,
  revision = :base + r.key + 1,
  sequence = sequence + 1,
  change_us = :now,
  finish_us = :now,
  purge_us = :now + coalesce(retention_us, :retention_us),
  lease_expire_us = NULL,
  transport = NULL,
  instance_id = NULL,
  losses = 0,
  checkpointed = 0,
  result_form = r.value ->> 2,
  result_size = r.value ->> 3,
  result = CASE WHEN r.value ->> 4 IS NOT NULL THEN substr(:content, r.value ->> 4, r.value ->> 3) END,
  result_type = r.value ->> 5,
  result_encoding = r.value ->> 6
FROM jsonb_each(:rows) AS r
WHERE job.key = r.value ->> 0 AND state = 3 AND fence = r.value ->> 1
