-- Which of these successes `complete_jobs` has just recorded: the revision that it gives is nobody else's. Index: rowid.
SELECT json_group_array(r.key)
FROM jsonb_each(:rows) AS r
CROSS JOIN job ON job.key = r.value ->> 0
WHERE job.revision = :base + r.key + 1
