-- Which of these (tenant, id) belong to a job, or did. Indexes: identity_id, tombstone_pkey. Joins, since a planner may
-- turn an EXISTS into a table of all ids.
SELECT coalesce(json_agg(r.n - 1), '[]')::text
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
LEFT JOIN identity AS i ON i.tenant = r.value ->> 0 AND i.id = r.value ->> 1
LEFT JOIN tombstone AS t
  ON t.tenant = r.value ->> 0 AND t.id = r.value ->> 1 AND t.until_us - %(now)s::bigint > 0
WHERE i.key IS NOT NULL OR t.until_us IS NOT NULL
