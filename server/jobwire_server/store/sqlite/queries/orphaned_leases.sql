-- Leases of in-process owners of earlier incarnations, whatever their time. Index: job_lease.
SELECT json_group_array(key) FROM (
  SELECT key FROM job INDEXED BY job_lease
  WHERE state = 3 AND transport = 0 AND instance_id <> :instance_id AND key NOT IN (SELECT value FROM json_each(:skipped))
  LIMIT :limit
)
