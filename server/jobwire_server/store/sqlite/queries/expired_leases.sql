-- Leases whose time is over. Index: job_lease, leaping from holder to holder: what is not over is not read.
WITH RECURSIVE holder (instance_id) AS (
  SELECT min(instance_id) FROM job INDEXED BY job_lease WHERE state = 3
  UNION ALL
  SELECT (SELECT min(instance_id) FROM job INDEXED BY job_lease WHERE state = 3 AND instance_id > holder.instance_id)
  FROM holder
  WHERE holder.instance_id IS NOT NULL
)
SELECT json_group_array(key) FROM (
  SELECT job.key
  FROM holder
  CROSS JOIN job INDEXED BY job_lease
    ON job.state = 3 AND job.instance_id = holder.instance_id AND job.transport IN (0, 1, 2)
    AND job.lease_expire_us <= :now
  LIMIT :limit
)
