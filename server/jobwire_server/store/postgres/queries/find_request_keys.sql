-- Which of these (tenant, request_id) were seen before, with the first job as it is now. Index: request_key_pkey.
SELECT coalesce(json_agg(json_build_array(
  r.n - 1, encode(k.fingerprint, 'hex'), k.first_key, k.count, k.batch_id, job.id, job.state, job.revision
)), '[]')::text
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN request_key AS k ON k.tenant = r.value ->> 0 AND k.request_id = r.value ->> 1
LEFT JOIN job ON job.key = k.first_key
