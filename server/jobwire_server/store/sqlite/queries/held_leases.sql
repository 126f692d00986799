-- The leases of one instance that are not over, oldest first. Index: job_lease; the sort is of what it holds.
SELECT json_group_array(key) FROM (
  SELECT key FROM job INDEXED BY job_lease
  WHERE state = 3 AND instance_id = :instance_id AND transport IN (0, 1, 2) AND lease_expire_us > :now
  ORDER BY start_us, key
  LIMIT :limit
)
