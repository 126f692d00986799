-- Which of these jobs `lease_jobs` has just leased: the revision that it gives is nobody else's. Index: rowid.
SELECT json_group_array(job.key ORDER BY r.key)
FROM jsonb_each(:keys) AS r
CROSS JOIN job ON job.key = r.value
WHERE job.revision = :base + r.key + 1
