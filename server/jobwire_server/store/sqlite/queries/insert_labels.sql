-- Indexes the labels of the jobs created in this transaction (keys above `:base`).
INSERT INTO label (tenant, name, value, key)
SELECT job.tenant, l.key, l.value, job.key
FROM job, json_each(job.labels) AS l
WHERE job.key > :base AND job.labels IS NOT NULL
