-- Moves jobs along the lifecycle table, one array of `rows` each:
-- 0 key, 1 state seen, 2 fence seen, 3 new state, 4 attempt step, 5 fence step, 6 losses, 7 due_us or null (unchanged),
-- 8 last_error or null (unchanged), 9 finished (0/1), 10 default retention. Fenced: a job that moved meanwhile stays.
UPDATE job
SET
  state = (r.value ->> 3)::smallint,
  attempt = attempt + (r.value ->> 4)::integer,
  fence = fence + (r.value ->> 5)::integer,
  losses = (r.value ->> 6)::integer,
  due_us = coalesce((r.value ->> 7)::bigint, due_us),
  last_error = coalesce(r.value ->> 8, last_error),
  finish_us = CASE r.value ->> 9 WHEN '1' THEN %(now)s::bigint END,
  purge_us = CASE r.value ->> 9 WHEN '1' THEN %(now)s::bigint + coalesce(retention_us, (r.value ->> 10)::bigint) END,
  revision = %(base)s::bigint + r.n,
  sequence = sequence + 1,
  change_us = %(now)s::bigint,
  lease_expire_us = NULL,
  transport = NULL,
  instance_id = NULL
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
WHERE job.key = (r.value ->> 0)::bigint AND job.state = (r.value ->> 1)::smallint
  AND job.fence = (r.value ->> 2)::bigint
