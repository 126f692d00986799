-- job: it has a label that filters do not find
SELECT DISTINCT job.id
FROM jobwire.job CROSS JOIN jsonb_each_text(job.labels::jsonb) AS l
WHERE job.labels IS NOT NULL
  AND NOT EXISTS (
    SELECT 1
    FROM jobwire.label
    WHERE label.tenant = job.tenant AND label.name = l.key AND label.value = l.value AND label.key = job.key
  )
