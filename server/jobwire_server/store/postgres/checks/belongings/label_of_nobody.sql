-- label: its job is gone, or does not have it
SELECT name || '=' || value || ' of job ' || coalesce(job.id, 'key ' || label.key)
FROM jobwire.label
LEFT JOIN jobwire.job ON job.key = label.key AND job.tenant = label.tenant
WHERE job.key IS NULL
  OR job.labels IS NULL
  OR NOT EXISTS (SELECT 1 FROM jsonb_each_text(job.labels::jsonb) AS l WHERE l.key = label.name AND l.value = label.value)
