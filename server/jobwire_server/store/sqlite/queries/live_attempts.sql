-- Which of these (key, fence) are the current attempts of PROCESSING jobs. Index: rowid.
SELECT json_group_array(r.key)
FROM jsonb_each(:pairs) AS r
CROSS JOIN job ON job.key = r.value ->> 0
WHERE job.state = 3 AND job.fence = r.value ->> 1
