DELETE FROM tombstone WHERE (tenant, id) IN (
  SELECT tenant, id FROM tombstone INDEXED BY tombstone_until WHERE until_us <= :now ORDER BY until_us LIMIT :limit
)
