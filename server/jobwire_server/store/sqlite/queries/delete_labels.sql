DELETE FROM label
WHERE (tenant, name, value, key) IN (
  SELECT job.tenant, l.key, l.value, job.key
  FROM jsonb_each(:keys) AS r
  CROSS JOIN job ON job.key = r.value
  CROSS JOIN json_each(job.labels) AS l
  WHERE job.labels IS NOT NULL
)
