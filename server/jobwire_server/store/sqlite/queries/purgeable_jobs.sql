-- Terminal jobs past their retention. Index: job_purge.
SELECT json_group_array(key) FROM (
  SELECT key FROM job INDEXED BY job_purge WHERE purge_us IS NOT NULL AND purge_us <= :now ORDER BY purge_us LIMIT :limit
)
