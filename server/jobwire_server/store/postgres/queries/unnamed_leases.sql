-- The leases of one instance that are not among those that it named, (key, fence) each, and still have time. Index:
-- job_lease.
SELECT coalesce(json_agg(key ORDER BY transport, lease_expire_us, key), '[]')::text
FROM job
WHERE state = 3 AND instance_id = %(instance_id)s::text AND lease_expire_us > %(now)s::bigint
  AND NOT EXISTS (
    SELECT 1 FROM jsonb_array_elements(%(held)s::jsonb) AS r (value)
    WHERE (r.value ->> 0)::bigint = job.key AND (r.value ->> 1)::bigint = job.fence
  )
