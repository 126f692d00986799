-- The leases of one instance that are not over, oldest first. Index: job_lease; the sort is of what it holds.
SELECT coalesce(json_agg(key ORDER BY start_us, key), '[]')::text
FROM (
  SELECT key, start_us FROM job
  WHERE state = 3 AND instance_id = %(instance_id)s::text AND transport IN (0, 1, 2)
    AND lease_expire_us > %(now)s::bigint
  ORDER BY start_us, key
  LIMIT %(limit)s::bigint
) AS held
