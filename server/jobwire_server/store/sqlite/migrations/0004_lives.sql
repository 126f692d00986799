-- Lives of a store: a backup that is opened again begins a new one, with fences that no lease of the old one can have.

-- The lowest fence of this life's leases, less 1: the time of its begin in microseconds, 0 in the first life. It is not
-- written into every row; a job is lifted above it by its next lease.
INSERT INTO meta VALUES ('fence_floor', 0);

-- As before, but that a lease may lift the fence to just above the floor.
DROP TRIGGER job_changed;

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
      OR NEW.revision <= OLD.revision
      OR NEW.sequence <> OLD.sequence + 1
      OR NEW.attempt > OLD.attempt + (NEW.state = 3 AND OLD.state = 2)
      OR NEW.attempt < OLD.attempt - (OLD.state = 3)
      THEN RAISE(ABORT, 'a fence, revision, sequence or attempt took an illegal step')
    WHEN NEW.fence > OLD.fence + 1 THEN CASE
      WHEN OLD.state <> 2 OR NEW.state <> 3
        OR NEW.fence IS NOT (SELECT value + 1 FROM meta WHERE name = 'fence_floor')
        THEN RAISE(ABORT, 'a fence, revision, sequence or attempt took an illegal step')
    END
  END;
  INSERT INTO event VALUES (
    NEW.revision, NEW.key, NEW.sequence, OLD.revision, 3, NEW.tenant, NEW.id, NEW.queue, NEW.type, NEW.batch_id,
    NEW.labels, NEW.create_us, OLD.state, NEW.state, NEW.attempt, NEW.max_attempts, NEW.fence, NEW.worker_id,
    NEW.last_error, NEW.start_us, NEW.finish_us, NEW.due_us, NEW.lease_expire_us, NEW.cancel_us, NEW.change_us
  );
END;
