-- What the owner needs of leased jobs, as one row. Index: job_pkey.
SELECT coalesce(json_agg(json_build_array(
  job.key, tenant, job.id, queue, job.type, attempt, max_attempts, fence, lease_expire_us, timeout_us, expire_us, priority,
  create_us, headers, labels, losses, checkpointed, payload_form, payload_type, payload_encoding, payload_size,
  CASE WHEN %(full)s::boolean THEN encode(payload, 'hex') END
) ORDER BY r.n), '[]')::text
FROM jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
