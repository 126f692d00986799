-- Keeps what jobs that were stopped had done so far: 0 key, 1 form, 2 size, 3 offset in the blob or NULL when it stands
-- apart, 4 type, 5 encoding. No event: it goes with the move of its job. Index: rowid.
UPDATE job
SET
  result_form = r.value ->> 1,
  result_size = r.value ->> 2,
  result = CASE WHEN r.value ->> 3 IS NOT NULL THEN substr(:content, r.value ->> 3, r.value ->> 2) END,
  result_type = r.value ->> 4,
  result_encoding = r.value ->> 5
FROM jsonb_each(:rows) AS r
WHERE job.key = r.value ->> 0
