-- Up to where word was left, and how far the running jobs are of which other servers have heard since a mark.
-- Indexes: progress_pkey, job_pkey.
WITH fresh AS MATERIALIZED (
  SELECT mark, key, server FROM jobwire.progress WHERE mark > %(after)s::bigint ORDER BY mark LIMIT %(limit)s::bigint
)
SELECT
  (SELECT max(mark) FROM fresh),
  coalesce(json_agg(json_build_array(
    job.tenant, job.key, job.id, job.queue, job.type, job.attempt, job.progress_percent, coalesce(job.progress_message, '')
  )), '[]')::text
FROM (SELECT DISTINCT key FROM fresh WHERE server <> %(server)s::text) AS heard
JOIN jobwire.job ON job.key = heard.key
WHERE job.state IS NOT DISTINCT FROM 3
