-- What a decision about these jobs needs to know, read in the transaction that applies it. Index: rowid.
SELECT json_group_array(
  json_array(
    job.key, tenant, job.id, queue, job.type, state, fence, attempt, max_attempts, retry, cancel_us IS NOT NULL,
    coalesce(expire_us <= :now, 0), losses
  )
)
FROM jsonb_each(:keys) AS r
CROSS JOIN job ON job.key = r.value
