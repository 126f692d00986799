-- job: it has a label that filters do not find
SELECT DISTINCT job.id
FROM job, json_each(job.labels) AS l
WHERE job.labels IS NOT NULL
  AND NOT EXISTS (
    SELECT 1
    FROM label
    WHERE label.tenant = job.tenant AND label.name = l.key AND label.value = l.value AND label.key = job.key
  )
