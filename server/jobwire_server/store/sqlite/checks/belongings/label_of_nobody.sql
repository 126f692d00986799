-- label: its job is gone, or does not have it
SELECT name || '=' || value || ' of job ' || coalesce(job.id, 'key ' || label.key)
FROM label
LEFT JOIN job ON job.key = label.key AND job.tenant = label.tenant
WHERE job.key IS NULL
  OR job.labels IS NULL
  OR NOT EXISTS (SELECT 1 FROM json_each(job.labels) AS l WHERE l.key = label.name AND l.value = label.value)
