-- The leases that still stand, by index of the request. Index: rowid.
SELECT json_group_array(json_array(r.key, job.cancel_us IS NOT NULL, max(0, job.lease_expire_us - :now)))
FROM jsonb_each(:rows) AS r
CROSS JOIN job ON job.key = r.value ->> 0
WHERE job.state = 3 AND job.fence = r.value ->> 1
