-- The next jobs of one lane: priority, then due time, then age. Index: job_claim, read from its start, as many rows as
-- are asked for. A job past its expiry is not handed out any more, though the sweep may not have seen it yet.
SELECT coalesce(json_agg(json_build_array(-priority, due_us, key, payload_size) ORDER BY priority DESC, due_us, key), '[]')::text
FROM (
  SELECT priority, due_us, key, payload_size
  FROM job
  WHERE queue = %(queue)s::text AND type = %(type)s::text AND state = 2
    AND (expire_us IS NULL OR expire_us > %(now)s::bigint)
  ORDER BY priority DESC, due_us, key
  LIMIT %(limit)s::bigint
) AS candidate
