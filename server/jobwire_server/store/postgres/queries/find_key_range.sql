-- The jobs of one atomic batch, in order. Index: job_pkey.
SELECT coalesce(json_agg(json_build_array(id, state, revision) ORDER BY key), '[]')::text
FROM job
WHERE key BETWEEN %(first)s::bigint AND %(last)s::bigint
