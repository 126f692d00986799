-- Workers in other processes: leases are found by the instance that holds them, and jobs keep checkpoints.

-- What one process holds is a seek; what is over is a seek per process, since the sweeps leap from one to the next.
DROP INDEX job_lease;
CREATE INDEX job_lease ON job (instance_id, transport, lease_expire_us) WHERE state = 3;

-- What an attempt left for the next one. It stands apart, so that neither a claim nor a sweep carries it; the flag in
-- the row says whether there is one to read.
CREATE TABLE checkpoint (
  key INTEGER PRIMARY KEY,
  form INTEGER NOT NULL,
  type TEXT,
  encoding TEXT,
  data BLOB NOT NULL
) STRICT;

ALTER TABLE job ADD COLUMN checkpointed INTEGER NOT NULL DEFAULT 0 CHECK (checkpointed = 0 OR state <> 5);

-- A checkpoint goes with the success of its job, or with the job.
CREATE TRIGGER job_checkpoint_used AFTER UPDATE OF checkpointed ON job WHEN NEW.checkpointed < OLD.checkpointed
BEGIN
  DELETE FROM checkpoint WHERE key = NEW.key;
END;

CREATE TRIGGER job_checkpoint_removed AFTER DELETE ON job WHEN OLD.checkpointed
BEGIN
  DELETE FROM checkpoint WHERE key = OLD.key;
END;
