-- Request keys past their age whose jobs are gone; those of living jobs are not even looked at. Index: request_key_orphan.
DELETE FROM request_key
WHERE (tenant, request_id) IN (
  SELECT tenant, request_id FROM request_key
  WHERE orphan = 1 AND create_us < %(before)s::bigint
  ORDER BY create_us
  LIMIT %(limit)s::bigint
)
