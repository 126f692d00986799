-- Waiting jobs whose expire_time has passed. Index: job_expire.
SELECT coalesce(json_agg(key ORDER BY expire_us, key), '[]')::text
FROM (
  SELECT key, expire_us FROM job
  WHERE expire_us IS NOT NULL AND state IN (1, 2, 4, 9) AND expire_us <= %(now)s::bigint
  ORDER BY expire_us, key
  LIMIT %(limit)s::bigint
  FOR UPDATE SKIP LOCKED
) AS expired
