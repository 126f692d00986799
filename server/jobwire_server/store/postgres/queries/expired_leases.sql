-- Leases whose time is over. Index: job_lease, leaping from holder to holder: what is not over is not read.
WITH RECURSIVE holder (instance_id) AS (
  SELECT min(instance_id) FROM job WHERE state = 3
  UNION ALL
  SELECT (SELECT min(job.instance_id) FROM job WHERE state = 3 AND job.instance_id > holder.instance_id)
  FROM holder
  WHERE holder.instance_id IS NOT NULL
)
SELECT coalesce(json_agg(key ORDER BY instance_id, transport, lease_expire_us, key), '[]')::text
FROM (
  SELECT job.key, job.instance_id, job.transport, job.lease_expire_us
  FROM holder
  JOIN job
    ON job.state = 3 AND job.instance_id = holder.instance_id AND job.transport IN (0, 1, 2)
    AND job.lease_expire_us <= %(now)s::bigint
  LIMIT %(limit)s::bigint
  FOR UPDATE OF job SKIP LOCKED
) AS expired
