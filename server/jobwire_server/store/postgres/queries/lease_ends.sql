-- When the leases (key, fence) end that still have time, by index of the request. Index: job_pkey.
SELECT coalesce(json_agg(json_build_array(r.n - 1, job.lease_expire_us)), '[]')::text
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = (r.value ->> 0)::bigint
WHERE job.state IS NOT DISTINCT FROM 3 AND job.fence = (r.value ->> 1)::bigint
  AND job.lease_expire_us > %(now)s::bigint
