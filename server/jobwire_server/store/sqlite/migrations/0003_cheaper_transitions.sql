-- Fewer steps for each change of a job (docs/adr/0011): one trigger where three were, and no index of the log by job.

DROP TRIGGER job_created;
DROP TRIGGER job_legal;
DROP TRIGGER job_steps;
DROP TRIGGER job_changed;

-- The log again, as a list for each job: an event names the one before it, and the job's row (or its DELETED event) the
-- newest. An index by (key, sequence) would be written for every event, and read for the history of a single job.
CREATE TABLE event_list (
  revision INTEGER PRIMARY KEY,
  key INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  previous INTEGER CHECK (previous < revision),
  kind INTEGER NOT NULL CHECK (kind IN (2, 3, 5)),
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

-- The transitions are those of domain/lifecycle.py; a test holds the two to each other, pair by pair. No lists of
-- values here: SQLite would make a table of each of them for every row.
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
