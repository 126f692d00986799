-- The leases of one instance that are not among `:held`, the (key, fence) that it named, and still have time. Index:
-- job_lease.
SELECT json_group_array(key) FROM job INDEXED BY job_lease
WHERE state = 3 AND instance_id = :instance_id AND lease_expire_us > :now
  AND (key, fence) NOT IN (SELECT value ->> 0, value ->> 1 FROM jsonb_each(:held))
