-- What became of jobs whose report came too late. Index: rowid.
SELECT json_group_array(json_array(job.key, job.state, job.fence))
FROM jsonb_each(:keys) AS r
CROSS JOIN job ON job.key = r.value
