-- Request keys past their age whose job is gone. Index: request_key_age.
DELETE FROM request_key WHERE (tenant, request_id) IN (
  SELECT tenant, request_id FROM request_key AS k INDEXED BY request_key_age
  WHERE create_us < :before
    AND NOT EXISTS (SELECT 1 FROM job WHERE job.key BETWEEN k.first_key AND k.first_key + k.count - 1)
  ORDER BY create_us
  LIMIT :limit
)
