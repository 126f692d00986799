-- Keeps payloads or results too large for their rows: (id, offset, length) each, the data in one blob.
INSERT OR REPLACE INTO content (id, data)
SELECT value ->> 0, substr(:content, value ->> 1, value ->> 2)
FROM jsonb_each(:rows)
