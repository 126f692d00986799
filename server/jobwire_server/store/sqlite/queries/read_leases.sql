-- What the owner needs of leased jobs, as one JSON row (a row per step would cost a GIL hand-over each).
SELECT json_group_array(
  json_array(
    job.key, tenant, job.id, queue, job.type, attempt, max_attempts, fence, lease_expire_us, timeout_us, expire_us, priority,
    create_us, headers, labels, losses, checkpointed, payload_form, payload_type, payload_encoding, payload_size,
    CASE WHEN :full THEN hex(payload) END
  )
  ORDER BY r.key
)
FROM jsonb_each(:keys) AS r
CROSS JOIN job ON job.key = r.value
