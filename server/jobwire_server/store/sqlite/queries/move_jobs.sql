-- Moves jobs along the lifecycle table, one array of `:rows` each:
-- 0 key, 1 state seen, 2 fence seen, 3 new state, 4 attempt step, 5 fence step, 6 losses, 7 due_us or NULL (unchanged),
-- 8 last_error or NULL (unchanged), 9 finished (0/1), 10 default retention. Fenced: a job that moved meanwhile stays.
UPDATE job
SET
  state = r.value ->> 3,
  attempt = attempt + (r.value ->> 4),
  fence = fence + (r.value ->> 5),
  losses = r.value ->> 6,
  due_us = coalesce(r.value ->> 7, due_us),
  last_error = coalesce(r.value ->> 8, last_error),
  finish_us = CASE WHEN r.value ->> 9 THEN :now END,
  purge_us = CASE WHEN r.value ->> 9 THEN :now + coalesce(retention_us, r.value ->> 10) END,
  revision = :base + r.key + 1,
  sequence = sequence + 1,
  change_us = :now,
  lease_expire_us = NULL,
  transport = NULL,
  instance_id = NULL
FROM jsonb_each(:rows) AS r
WHERE job.key = r.value ->> 0 AND state = r.value ->> 1 AND fence = r.value ->> 2
