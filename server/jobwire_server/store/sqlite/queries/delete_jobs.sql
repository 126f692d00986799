-- Removes terminal jobs; the last of the statements that do.
DELETE FROM job WHERE key IN (SELECT value FROM jsonb_each(:keys)) AND state IN (5, 6, 7, 8)
