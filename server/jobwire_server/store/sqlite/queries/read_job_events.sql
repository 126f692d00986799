-- The log of some jobs after a revision, in order; jobs that are gone are found by their DELETED events.
-- Indexes: UNIQUE (tenant, id), event_deleted, UNIQUE (key, sequence).
SELECT e.*
FROM (
  SELECT job.key AS k FROM json_each(:ids) AS r CROSS JOIN job ON job.tenant = :tenant AND job.id = r.value
  UNION
  SELECT d.key FROM json_each(:ids) AS r
  CROSS JOIN event AS d INDEXED BY event_deleted ON d.kind = 5 AND d.tenant = :tenant AND d.job_id = r.value
) AS wanted
CROSS JOIN event AS e ON e.key = wanted.k
WHERE e.revision > :after
ORDER BY e.revision
LIMIT :limit
