-- Jobs whose time has come, earliest first. Index: job_due.
SELECT json_group_array(key) FROM (
  SELECT key FROM job INDEXED BY job_due WHERE state IN (1, 4) AND due_us <= :now ORDER BY due_us LIMIT :limit
)
