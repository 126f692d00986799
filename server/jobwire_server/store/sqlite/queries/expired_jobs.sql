-- Waiting jobs whose expire_time has passed. Index: job_expire.
SELECT json_group_array(key) FROM (
  SELECT key FROM job INDEXED BY job_expire
  WHERE expire_us IS NOT NULL AND state IN (1, 2, 4, 9) AND expire_us <= :now
  ORDER BY expire_us
  LIMIT :limit
)
