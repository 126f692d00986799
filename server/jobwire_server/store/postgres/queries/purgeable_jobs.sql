-- Terminal jobs past their retention. Index: job_purge.
SELECT coalesce(json_agg(key ORDER BY purge_us, key), '[]')::text
FROM (
  SELECT key, purge_us FROM job
  WHERE purge_us IS NOT NULL AND purge_us <= %(now)s::bigint
  ORDER BY purge_us, key
  LIMIT %(limit)s::bigint
  FOR UPDATE SKIP LOCKED
) AS old
