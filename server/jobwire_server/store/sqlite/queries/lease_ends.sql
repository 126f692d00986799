-- When the leases (key, fence) end that still have time, by index of the request. Index: rowid.
SELECT json_group_array(json_array(r.key, job.lease_expire_us))
FROM jsonb_each(:rows) AS r
CROSS JOIN job ON job.key = r.value ->> 0
WHERE job.state = 3 AND job.fence = r.value ->> 1 AND job.lease_expire_us > :now
