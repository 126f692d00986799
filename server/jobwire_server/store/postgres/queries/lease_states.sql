-- The leases that still stand, by index of the request. Index: job_pkey.
SELECT coalesce(json_agg(json_build_array(
  r.n - 1, job.cancel_us IS NOT NULL, greatest(0, job.lease_expire_us - %(now)s::bigint)
)), '[]')::text
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = (r.value ->> 0)::bigint
WHERE job.state IS NOT DISTINCT FROM 3 AND job.fence = (r.value ->> 1)::bigint
