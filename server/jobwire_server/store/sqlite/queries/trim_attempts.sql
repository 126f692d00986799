-- Keeps the newest `:keep` attempts of each job. Index: primary key (key, fence).
DELETE FROM attempt
WHERE (key, fence) IN (
  SELECT a.key, a.fence
  FROM jsonb_each(:keys) AS r
  CROSS JOIN job ON job.key = r.value
  CROSS JOIN attempt AS a ON a.key = job.key AND a.number <= job.attempt - :keep
)
