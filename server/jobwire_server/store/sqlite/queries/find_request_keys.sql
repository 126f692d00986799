-- Which of these (tenant, request_id) were seen before, with the first job as it is now. Index: primary key.
SELECT json_group_array(
  json_array(r.key, hex(k.fingerprint), k.first_key, k.count, k.batch_id, job.id, job.state, job.revision)
)
FROM jsonb_each(:rows) AS r
CROSS JOIN request_key AS k ON k.tenant = r.value ->> 0 AND k.request_id = r.value ->> 1
LEFT JOIN job ON job.key = k.first_key
