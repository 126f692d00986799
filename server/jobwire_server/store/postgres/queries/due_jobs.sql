-- Jobs whose time has come, earliest first. Index: job_due. A row that somebody holds by hand is left for the next turn.
SELECT coalesce(json_agg(key ORDER BY due_us, key), '[]')::text
FROM (
  SELECT key, due_us FROM job
  WHERE state IN (1, 4) AND due_us <= %(now)s::bigint
  ORDER BY due_us, key
  LIMIT %(limit)s::bigint
  FOR UPDATE SKIP LOCKED
) AS due
