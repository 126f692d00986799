DELETE FROM attempt WHERE key IN (SELECT value FROM jsonb_each(:keys))
