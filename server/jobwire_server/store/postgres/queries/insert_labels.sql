-- Indexes the labels of the jobs created in this transaction. Index: job_pkey.
INSERT INTO label (tenant, name, value, key)
SELECT job.tenant, l.name, l.value, job.key
FROM job
CROSS JOIN LATERAL jsonb_each_text(replace(job.labels, '\u0000', '\ufffd')::jsonb) AS l (name, value)
WHERE job.key > %(base)s::bigint AND job.labels IS NOT NULL
