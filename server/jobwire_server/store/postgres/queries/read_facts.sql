-- What a decision about these jobs needs to know, read in the transaction that applies it. Index: job_pkey.
SELECT coalesce(json_agg(json_build_array(
  job.key, tenant, job.id, queue, job.type, state, fence, attempt, max_attempts, retry, cancel_us IS NOT NULL,
  coalesce(expire_us <= %(now)s::bigint, false), losses
) ORDER BY r.n), '[]')::text
FROM jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
