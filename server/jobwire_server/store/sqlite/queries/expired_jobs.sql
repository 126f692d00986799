-- Waiting jobs whose expire_time has passed. Index: job_expire.
SELECT json_group_array(key) FROM (
  SELECT key FROM job INDEXED BY job_expire
  WHERE expire_us IS NOT NULL AND (state BETWEEN 1 AND 2 OR state = 4 OR state = 9) AND expire_us <= :now
  ORDER BY expire_us
  LIMIT :limit
)
