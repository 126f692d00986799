-- Records the wish to cancel a running job (its state does not change; the worker is asked).
UPDATE job
SET cancel_us = :now, cancel_reason = :reason, revision = :revision, sequence = sequence + 1, change_us = :now
WHERE key = :key AND state = 3 AND cancel_us IS NULL
