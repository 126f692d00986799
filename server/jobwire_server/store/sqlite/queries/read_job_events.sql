-- The log of some jobs after a revision, in order: from the newest event of each (its row names it; of a job that is gone
-- it is the DELETED one) back along the list. Indexes: UNIQUE (tenant, id), event_deleted, rowid.
WITH RECURSIVE
head (revision) AS (
  SELECT job.revision FROM json_each(:ids) AS r CROSS JOIN job ON job.tenant = :tenant AND job.id = r.value
  UNION
  SELECT d.revision FROM json_each(:ids) AS r
  CROSS JOIN event AS d INDEXED BY event_deleted ON d.kind = 5 AND d.tenant = :tenant AND d.job_id = r.value
),
walk (revision, previous) AS (
  SELECT e.revision, e.previous FROM head CROSS JOIN event AS e ON e.revision = head.revision
  UNION ALL
  SELECT e.revision, e.previous FROM walk CROSS JOIN event AS e ON e.revision = walk.previous
  WHERE walk.previous > :after
)
SELECT e.*
FROM walk
CROSS JOIN event AS e ON e.revision = walk.revision
WHERE walk.revision > :after
ORDER BY walk.revision
LIMIT :limit
