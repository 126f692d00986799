-- The next jobs of one lane: priority, then due time, then age. Index: job_claim, read from its start, `:limit` rows.
-- A job past its expiry is not handed out any more, though the sweep may not have seen it yet.
SELECT json_group_array(json_array(-priority, due_us, key, payload_size))
FROM (
  SELECT priority, due_us, key, payload_size
  FROM job INDEXED BY job_claim
  WHERE queue = :queue AND type = :type AND state = 2 AND (expire_us IS NULL OR expire_us > :now)
  ORDER BY priority DESC, due_us, key
  LIMIT :limit
)
