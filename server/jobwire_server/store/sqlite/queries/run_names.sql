-- Whose attempts these leases (key, fence) are, by index of the request. Index: rowid.
SELECT json_group_array(json_array(r.key, tenant, job.id, queue, job.type, attempt))
FROM jsonb_each(:rows) AS r
CROSS JOIN job ON job.key = r.value ->> 0
WHERE job.state = 3 AND job.fence = r.value ->> 1
