-- Leases the chosen jobs, in order, to one owner, and returns what `read_leases` says of each; one that somebody holds by
-- hand is passed over. What it sets is Event.LEASE of the lifecycle table; the first lease of a job in this life of the
-- store lifts its fence above the floor. The rows are picked once and for all: without MATERIALIZED the planner may run
-- the inner query again and again, and lease more than was asked for. Index: job_pkey.
WITH picked AS MATERIALIZED (
  SELECT job.key, r.n
  FROM jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
  JOIN job ON job.key = r.value::bigint
  WHERE job.state IS NOT DISTINCT FROM 2
  FOR UPDATE OF job SKIP LOCKED
),
leased AS (
  UPDATE job
  SET
    state = %(state)s::smallint,
    attempt = attempt + %(attempt_step)s::integer,
    fence = greatest(fence, (SELECT fence_floor FROM meta)) + %(fence_step)s::integer,
    revision = %(base)s::bigint + picked.n,
    sequence = sequence + 1,
    change_us = %(now)s::bigint,
    start_us = %(now)s::bigint,
    lease_expire_us = %(now)s::bigint + least(%(lease_us)s::bigint, timeout_us + %(grace_us)s::bigint),
    transport = %(transport)s::smallint,
    instance_id = %(instance_id)s::text,
    worker_id = %(worker_id)s::text,
    progress_percent = NULL,
    progress_message = NULL
  FROM picked
  WHERE job.key = picked.key
  RETURNING
    picked.n, job.key, tenant, id, queue, type, attempt, max_attempts, fence, lease_expire_us, timeout_us, expire_us,
    priority, create_us, headers, labels, losses, checkpointed, payload_form, payload_type, payload_encoding,
    payload_size, payload
)
SELECT coalesce(json_agg(json_build_array(
  key, tenant, id, queue, type, attempt, max_attempts, fence, lease_expire_us, timeout_us, expire_us, priority,
  create_us, headers, labels, losses, checkpointed, payload_form, payload_type, payload_encoding, payload_size,
  encode(payload, 'hex')
) ORDER BY n), '[]')::text
FROM leased
