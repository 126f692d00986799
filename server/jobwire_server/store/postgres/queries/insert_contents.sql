-- Keeps payloads or results too large for their rows: (id, offset, length) each, the data in one blob.
INSERT INTO content (id, data)
SELECT
  (r.value ->> 0)::bigint,
  substring(%(content)b::bytea FROM (r.value ->> 1)::integer FOR (r.value ->> 2)::integer)
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
ON CONFLICT (id) DO UPDATE SET data = excluded.data
