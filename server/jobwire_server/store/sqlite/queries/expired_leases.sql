-- Leases whose time is over, oldest first. Index: job_lease.
SELECT json_group_array(key) FROM (
  SELECT key FROM job INDEXED BY job_lease
  WHERE state = 3 AND transport IN (0, 1, 2) AND lease_expire_us <= :now
  LIMIT :limit
)
