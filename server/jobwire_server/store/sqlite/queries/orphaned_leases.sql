-- Leases of in-process owners of earlier incarnations, whatever their time. Index: job_lease, leaping from holder to
-- holder: leases of remote owners are not read.
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
    ON job.state = 3 AND job.instance_id = holder.instance_id AND job.transport = 0
  WHERE holder.instance_id <> :instance_id AND job.key NOT IN (SELECT value FROM json_each(:skipped))
  LIMIT :limit
)
