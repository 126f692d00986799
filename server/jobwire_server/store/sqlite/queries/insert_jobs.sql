-- Creates the jobs of a commit group, one array of `:rows` each; the trigger writes their events. insert_plain_jobs.sql is
-- the same for a group in which no job has any of the fields from schedule_us on.
-- Their keys follow `:base`. One statement for all: the writer thread gives up the GIL once, not once per row.
-- Payloads come in one blob (`:content`), with offset and length in the row.
INSERT INTO job (
  key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, state, max_attempts, queue, type,
  priority, due_us, payload_form, payload_size, payload, payload_type, id_chosen, batch_id, schedule_us, expire_us,
  timeout_us, retention_us, retry, labels, headers, payload_encoding
)
SELECT
  :base + r.key + 1, :base + r.key + 1, 1, 0, 0, 0, :now, :now, value ->> 0, value ->> 1, value ->> 2, value ->> 3,
  value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
  CASE WHEN value ->> 10 IS NOT NULL THEN substr(:content, value ->> 10, value ->> 9) END,
  value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18,
  value ->> 19, value ->> 20, value ->> 21
FROM jsonb_each(:rows) AS r
