-- Fewer steps for each change of a job (docs/adr/0013): one trigger where three were, checks that are cheap, and no index
-- of the log by job. No IN with more than two values in checks or triggers: SQLite makes a table of them, row after row.

DROP TRIGGER job_created;
DROP TRIGGER job_legal;
DROP TRIGGER job_steps;
DROP TRIGGER job_immutable;
DROP TRIGGER job_changed;
DROP TRIGGER job_checkpoint_used;
DROP TRIGGER job_checkpoint_removed;

-- The jobs again: the same columns, and the same checks in other words.
CREATE TABLE job_rebuilt (
  key INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  id_chosen INTEGER NOT NULL,
  state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 9),
  revision INTEGER NOT NULL CHECK (revision >= key),
  sequence INTEGER NOT NULL CHECK (sequence >= 1),
  attempt INTEGER NOT NULL CHECK (attempt BETWEEN 0 AND max_attempts),
  max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
  fence INTEGER NOT NULL CHECK (fence >= 0),
  losses INTEGER NOT NULL CHECK (losses >= 0),
  queue TEXT NOT NULL,
  type TEXT NOT NULL,
  priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
  due_us INTEGER NOT NULL,
  create_us INTEGER NOT NULL,
  change_us INTEGER NOT NULL,
  start_us INTEGER,
  finish_us INTEGER,
  cancel_us INTEGER,
  lease_expire_us INTEGER,
  purge_us INTEGER,
  transport INTEGER,
  instance_id TEXT,
  worker_id TEXT,
  progress_percent REAL,
  progress_message TEXT,
  last_error TEXT,
  cancel_reason TEXT,
  batch_id TEXT,
  schedule_us INTEGER,
  expire_us INTEGER,
  timeout_us INTEGER,
  retention_us INTEGER,
  retry TEXT,
  labels TEXT,
  headers TEXT,
  -- form: NULL none, 0 bytes, 1 text. Small content stands in the row, large content in the table `content`.
  payload_form INTEGER,
  payload_type TEXT,
  payload_encoding TEXT,
  payload_size INTEGER NOT NULL,
  payload BLOB,
  result_form INTEGER,
  result_type TEXT,
  result_encoding TEXT,
  result_size INTEGER NOT NULL DEFAULT 0,
  result BLOB,
  checkpointed INTEGER NOT NULL DEFAULT 0 CHECK (checkpointed = 0 OR state <> 5),
  UNIQUE (tenant, id),
  CHECK ((state = 3) = (lease_expire_us IS NOT NULL)),
  CHECK ((state = 3) = (instance_id IS NOT NULL)),
  CHECK ((state = 3) = (transport IS NOT NULL)),
  CHECK ((state BETWEEN 5 AND 8) = (finish_us IS NOT NULL)),
  CHECK ((state BETWEEN 5 AND 8) = (purge_us IS NOT NULL))
) STRICT;

INSERT INTO job_rebuilt SELECT * FROM job;
DROP TABLE job;
ALTER TABLE job_rebuilt RENAME TO job;

-- The claim: queue and type lead, so that a backlog nobody serves stands in nobody's way.
CREATE INDEX job_claim ON job (queue, type, priority DESC, due_us, key) WHERE state = 2;
CREATE INDEX job_due ON job (due_us) WHERE state IN (1, 4);
CREATE INDEX job_lease ON job (instance_id, transport, lease_expire_us) WHERE state = 3;
CREATE INDEX job_expire ON job (expire_us) WHERE expire_us IS NOT NULL AND (state BETWEEN 1 AND 2 OR state = 4 OR state = 9);
CREATE INDEX job_purge ON job (purge_us) WHERE purge_us IS NOT NULL;
CREATE INDEX job_state ON job (tenant, state, key);
CREATE INDEX job_queue ON job (tenant, queue, key);
CREATE INDEX job_type ON job (tenant, type, key);
CREATE INDEX job_batch ON job (tenant, batch_id, key) WHERE batch_id IS NOT NULL;

-- The log again, as a list for each job: an event names the one before it, and the job's row (or its DELETED event) the
-- newest. An index by (key, sequence) would be written for every event, and read for the history of a single job.
CREATE TABLE event_list (
  revision INTEGER PRIMARY KEY,
  key INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  previous INTEGER CHECK (previous < revision),
  kind INTEGER NOT NULL CHECK (kind BETWEEN 2 AND 3 OR kind = 5),
  tenant TEXT NOT NULL,
  job_id TEXT NOT NULL,
  queue TEXT NOT NULL,
  type TEXT NOT NULL,
  batch_id TEXT,
  labels TEXT,
  create_us INTEGER NOT NULL,
  previous_state INTEGER,
  state INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  worker_id TEXT,
  last_error TEXT,
  start_us INTEGER,
  finish_us INTEGER,
  due_us INTEGER NOT NULL,
  lease_expire_us INTEGER,
  cancel_us INTEGER,
  time_us INTEGER NOT NULL
) STRICT;

INSERT INTO event_list
SELECT
  revision, key, sequence, lag(revision) OVER (PARTITION BY key ORDER BY sequence), kind, tenant, job_id, queue, type,
  batch_id, labels, create_us, previous_state, state, attempt, max_attempts, fence, worker_id, last_error, start_us,
  finish_us, due_us, lease_expire_us, cancel_us, time_us
FROM event;

DROP TABLE event;
ALTER TABLE event_list RENAME TO event;

-- Finds the newest event of a job that is gone by its id; only deletions pay for it.
CREATE INDEX event_deleted ON event (tenant, job_id) WHERE kind = 5;

CREATE TRIGGER job_created AFTER INSERT ON job
BEGIN
  SELECT RAISE(ABORT, 'a job begins SCHEDULED or PENDING, at sequence 1, without attempt or fence')
  WHERE NEW.state NOT IN (1, 2) OR NEW.sequence <> 1 OR NEW.attempt <> 0 OR NEW.fence <> 0 OR NEW.revision <> NEW.key;
  INSERT INTO event VALUES (
    NEW.revision, NEW.key, 1, NULL, 2, NEW.tenant, NEW.id, NEW.queue, NEW.type, NEW.batch_id, NEW.labels, NEW.create_us,
    NULL, NEW.state, 0, NEW.max_attempts, 0, NULL, NULL, NULL, NULL, NEW.due_us, NULL, NULL, NEW.change_us
  );
END;

-- The transitions are those of domain/lifecycle.py; a test holds the two to each other, pair by pair.
CREATE TRIGGER job_changed AFTER UPDATE OF state, revision, sequence, attempt, fence ON job
BEGIN
  SELECT CASE
    WHEN NEW.state <> OLD.state AND NOT CASE OLD.state
      WHEN 2 THEN NEW.state = 3 OR NEW.state BETWEEN 7 AND 8
      WHEN 3 THEN NEW.state BETWEEN 1 AND 2 OR NEW.state BETWEEN 4 AND 8
      WHEN 1 THEN NEW.state = 2 OR NEW.state BETWEEN 7 AND 8
      WHEN 4 THEN NEW.state = 2 OR NEW.state BETWEEN 7 AND 8
      WHEN 9 THEN NEW.state = 2 OR NEW.state BETWEEN 7 AND 8
      WHEN 5 THEN 0
      WHEN 6 THEN NEW.state BETWEEN 1 AND 2
      WHEN 7 THEN NEW.state BETWEEN 1 AND 2
      WHEN 8 THEN NEW.state BETWEEN 1 AND 2
    END THEN RAISE(ABORT, 'illegal transition')
    WHEN NEW.fence < OLD.fence
      OR NEW.fence > OLD.fence + 1
      OR NEW.revision <= OLD.revision
      OR NEW.sequence <> OLD.sequence + 1
      OR NEW.attempt > OLD.attempt + (NEW.state = 3 AND OLD.state = 2)
      OR NEW.attempt < OLD.attempt - (OLD.state = 3)
      THEN RAISE(ABORT, 'a fence, revision, sequence or attempt took an illegal step')
  END;
  INSERT INTO event VALUES (
    NEW.revision, NEW.key, NEW.sequence, OLD.revision, 3, NEW.tenant, NEW.id, NEW.queue, NEW.type, NEW.batch_id,
    NEW.labels, NEW.create_us, OLD.state, NEW.state, NEW.attempt, NEW.max_attempts, NEW.fence, NEW.worker_id,
    NEW.last_error, NEW.start_us, NEW.finish_us, NEW.due_us, NEW.lease_expire_us, NEW.cancel_us, NEW.change_us
  );
END;

CREATE TRIGGER job_immutable BEFORE UPDATE OF key, tenant, id, queue, type, create_us ON job
BEGIN
  SELECT RAISE(ABORT, 'the identity of a job never changes');
END;

-- A checkpoint goes with the success of its job, or with the job.
CREATE TRIGGER job_checkpoint_used AFTER UPDATE OF checkpointed ON job WHEN NEW.checkpointed < OLD.checkpointed
BEGIN
  DELETE FROM checkpoint WHERE key = NEW.key;
END;

CREATE TRIGGER job_checkpoint_removed AFTER DELETE ON job WHEN OLD.checkpointed
BEGIN
  DELETE FROM checkpoint WHERE key = OLD.key;
END;
