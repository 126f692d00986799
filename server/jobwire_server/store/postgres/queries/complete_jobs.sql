-- Records successes (Event.SUCCEED): 0 key, 1 fence, 2 result form or null, 3 size, 4 offset in the blob or null, 5 type,
-- 6 encoding. Fenced. Index: job_pkey.
UPDATE job
SET
  state = %(state)s::smallint,
  revision = %(base)s::bigint + r.n,
  sequence = sequence + 1,
  change_us = %(now)s::bigint,
  finish_us = %(now)s::bigint,
  purge_us = %(now)s::bigint + coalesce(retention_us, %(retention_us)s::bigint),
  lease_expire_us = NULL,
  transport = NULL,
  instance_id = NULL,
  losses = 0,
  checkpointed = 0,
  result_form = (r.value ->> 2)::smallint,
  result_size = (r.value ->> 3)::bigint,
  result = substring(%(content)b::bytea FROM (r.value ->> 4)::integer FOR (r.value ->> 3)::integer),
  result_type = r.value ->> 5,
  result_encoding = r.value ->> 6
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
WHERE job.key = (r.value ->> 0)::bigint AND job.state IS NOT DISTINCT FROM 3 AND job.fence = (r.value ->> 1)::bigint
