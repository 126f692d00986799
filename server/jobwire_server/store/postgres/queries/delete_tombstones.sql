-- Index: tombstone_until.
DELETE FROM tombstone
WHERE (tenant, id) IN (
  SELECT tenant, id FROM tombstone WHERE until_us <= %(now)s::bigint ORDER BY until_us LIMIT %(limit)s::bigint
)
