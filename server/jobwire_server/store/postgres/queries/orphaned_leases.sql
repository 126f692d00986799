-- Leases of the pools of servers that are dead (`server`, or `server/process`), whatever their time: this one is alive,
-- and so is every server that has said so of late. Index: job_lease, leaping from holder to holder: leases of remote owners are not read.
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
  JOIN job ON job.state = 3 AND job.instance_id = holder.instance_id AND job.transport = 0
  WHERE split_part(holder.instance_id, '/', 1) <> %(instance_id)s::text
    AND NOT EXISTS (
      SELECT 1 FROM server AS s
      WHERE s.instance_id = split_part(holder.instance_id, '/', 1) AND s.alive_until_us > %(now)s::bigint
    )
    AND job.key <> ALL (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text(%(skipped)s::jsonb)))
  LIMIT %(limit)s::bigint
  FOR UPDATE OF job SKIP LOCKED
) AS orphaned
