-- Index: attempt_pkey.
DELETE FROM attempt WHERE key = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text(%(keys)s::jsonb)))
