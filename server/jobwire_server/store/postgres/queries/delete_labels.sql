-- Index: label_pkey.
DELETE FROM label
USING jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
CROSS JOIN LATERAL jsonb_each_text(replace(job.labels, '\u0000', '\ufffd')::jsonb) AS l (name, value)
WHERE job.labels IS NOT NULL AND label.tenant = job.tenant AND label.name = l.name AND label.value = l.value
  AND label.key = job.key
