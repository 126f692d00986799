-- Removes terminal jobs; the last of the statements that do. Index: job_pkey.
DELETE FROM job WHERE key = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text(%(keys)s::jsonb))) AND state IN (5, 6, 7, 8)
