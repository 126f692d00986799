-- insert_jobs.sql without the rare fields: to look for eight that are not there costs a seventh of the statement.
INSERT INTO job (
  key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, state, max_attempts, queue, type,
  priority, due_us, payload_form, payload_size, payload, payload_type, id_chosen, batch_id
)
SELECT
  :base + r.key + 1, :base + r.key + 1, 1, 0, 0, 0, :now, :now, value ->> 0, value ->> 1, value ->> 2, value ->> 3,
  value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
  CASE WHEN value ->> 10 IS NOT NULL THEN substr(:content, value ->> 10, value ->> 9) END,
  value ->> 11, value ->> 12, value ->> 13
FROM jsonb_each(:rows) AS r
