-- The log of some jobs after a revision, in order, also of jobs that are gone. Indexes: identity_id, event_deleted,
-- event_sequence. It is materialized, since the log in its own order would be a long way to a job or two.
WITH wanted AS MATERIALIZED (
  SELECT i.key FROM jsonb_array_elements_text(%(ids)s::jsonb) AS r (value)
  JOIN identity AS i ON i.tenant = %(tenant)s::text AND i.id = r.value
  UNION
  SELECT d.key FROM jsonb_array_elements_text(%(ids)s::jsonb) AS r (value)
  JOIN event AS d ON d.kind = 5 AND d.tenant = %(tenant)s::text AND d.job_id = r.value
),
found AS MATERIALIZED (
  SELECT e.*
  FROM wanted
  JOIN event AS e ON e.key = wanted.key
  WHERE e.revision - %(after)s::bigint > 0
)
SELECT * FROM found ORDER BY revision LIMIT %(limit)s::bigint
