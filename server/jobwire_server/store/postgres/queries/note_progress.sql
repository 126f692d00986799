-- Leaves word for other servers that workers have said how far jobs are. In the order of commits, as all that is written.
INSERT INTO progress (key, server)
SELECT value::bigint, %(server)s::text FROM jsonb_array_elements_text(%(keys)s::jsonb) AS r (value)
