-- Marks the request keys whose last job has just been removed: from now on only their age keeps them.
-- Index: request_key_jobs (the range that holds a key is the last one that begins at or before it).
UPDATE request_key SET orphan = 1
WHERE (tenant, request_id) IN (
  SELECT k.tenant, k.request_id
  FROM jsonb_array_elements_text(%(keys)s::jsonb) AS r (value)
  CROSS JOIN LATERAL (
    SELECT * FROM request_key WHERE first_key <= r.value::bigint ORDER BY first_key DESC LIMIT 1
  ) AS k
  WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.key BETWEEN k.first_key AND k.first_key + k.count - 1)
)
