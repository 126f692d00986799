-- Ids that callers chose are not used again for a while.
INSERT OR REPLACE INTO tombstone (tenant, id, until_us)
SELECT tenant, job.id, :until
FROM jsonb_each(:keys) AS r
CROSS JOIN job ON job.key = r.value
WHERE job.id_chosen = 1
