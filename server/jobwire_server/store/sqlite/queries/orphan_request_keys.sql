-- Marks the request keys whose last job has just been removed (`:keys`): from now on only their age keeps them.
-- Index: request_key_jobs (the range that holds a key is the last one that begins at or before it).
UPDATE request_key SET orphan = 1
WHERE (tenant, request_id) IN (
  SELECT k.tenant, k.request_id
  FROM jsonb_each(:keys) AS r
  CROSS JOIN request_key AS k INDEXED BY request_key_jobs ON k.first_key = (
    SELECT first_key FROM request_key INDEXED BY request_key_jobs
    WHERE first_key <= r.value
    ORDER BY first_key DESC
    LIMIT 1
  )
  WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.key BETWEEN k.first_key AND k.first_key + k.count - 1)
)
