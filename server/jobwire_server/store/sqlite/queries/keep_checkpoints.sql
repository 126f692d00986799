-- Keeps checkpoints, replacing those before: 0 key, 1 fence, 2 form, 3 type, 4 encoding, 5 offset, 6 length of each in
-- the one blob (a part of an empty blob is NULL to SQLite). Fenced. Index: rowid.
INSERT OR REPLACE INTO checkpoint (key, form, type, encoding, data)
SELECT
  job.key, r.value ->> 2, r.value ->> 3, r.value ->> 4, coalesce(substr(:content, r.value ->> 5, r.value ->> 6), x'')
FROM jsonb_each(:rows) AS r
CROSS JOIN job ON job.key = r.value ->> 0
WHERE job.state = 3 AND job.fence = r.value ->> 1
