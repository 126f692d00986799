-- Lives of a store: one that was copied, restored or carried over begins a new life where it is opened first, with
-- fences and revisions that the old one cannot have given out (docs/adr/0017, 0020).

ALTER TABLE jobwire.meta
  -- The lowest fence of this life's leases, less 1: the time of its begin in microseconds, 0 in the first life. It is not
  -- written into every row; a job is lifted above it by its next lease. No revision of this life is lower, either.
  ADD COLUMN fence_floor bigint NOT NULL DEFAULT 0,
  -- Where this life is at home (jobwire.home()); NULL = nobody has opened it since it could be told.
  ADD COLUMN home text,
  -- In a copy that nobody has opened yet: when its content was read.
  ADD COLUMN backup_us bigint,
  -- When this life began, and when what it began with had been read; NULL = it is the first.
  ADD COLUMN restored_us bigint,
  ADD COLUMN restored_backup_us bigint,
  -- While a store is being carried here: from where. No server opens it.
  ADD COLUMN moving text;

-- Where this database is: which cluster, on which timeline (a restore to a point in time begins another, and so does a
-- standby that takes over), which database in it, and which table, that a dump which is read back makes anew.
CREATE FUNCTION jobwire.home() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  cluster bigint;
BEGIN
  BEGIN
    SELECT system_identifier INTO cluster FROM pg_control_system();
  EXCEPTION WHEN insufficient_privilege THEN
    cluster := 0;  -- some hosts keep it to themselves: the rest tells most copies
  END;
  RETURN concat_ws('/',
    cluster,
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    'jobwire.meta'::regclass::oid
  );
END $$;

CREATE OR REPLACE FUNCTION jobwire.enter_write(lock_ms integer, statement_ms integer, idle_ms integer)
RETURNS TABLE (epoch text, revision bigint, compacted bigint, now_us bigint) LANGUAGE plpgsql AS $$
DECLARE
  newest jobwire.event.revision%TYPE;
  newest_us jobwire.event.time_us%TYPE;
BEGIN
  PERFORM jobwire.enter(statement_ms, idle_ms), set_config('lock_timeout', lock_ms::text, true);
  PERFORM pg_advisory_xact_lock(7669765473206166);
  SELECT e.revision, e.time_us INTO newest, newest_us FROM jobwire.event AS e ORDER BY e.revision DESC LIMIT 1;
  RETURN QUERY
    SELECT m.epoch, greatest(newest, m.compacted, m.fence_floor), m.compacted, greatest(jobwire.now_us(), newest_us)
    FROM jobwire.meta AS m;
END $$;

-- As before, but that a lease may lift the fence to just above the floor.
CREATE FUNCTION jobwire.refuse_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.fence <= OLD.fence + 1
    OR OLD.state <> 2 OR NEW.state <> 3
    OR NEW.revision <= OLD.revision OR NEW.sequence <> OLD.sequence + 1
    OR NEW.attempt NOT BETWEEN OLD.attempt AND OLD.attempt + 1
    OR NEW.fence IS DISTINCT FROM (SELECT fence_floor + 1 FROM jobwire.meta)
  THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[0];
  END IF;
  RETURN NULL;
END $$;

DROP TRIGGER job_steps ON jobwire.job;

CREATE TRIGGER job_steps AFTER UPDATE OF state, revision, sequence, attempt, fence ON jobwire.job FOR EACH ROW
WHEN (
  NEW.fence < OLD.fence
  OR NEW.fence > OLD.fence + 1
  OR NEW.revision <= OLD.revision
  OR NEW.sequence <> OLD.sequence + 1
  OR NEW.attempt > OLD.attempt + CASE WHEN NEW.state = 3 AND OLD.state = 2 THEN 1 ELSE 0 END
  OR NEW.attempt < OLD.attempt - CASE WHEN OLD.state = 3 THEN 1 ELSE 0 END
)
EXECUTE FUNCTION jobwire.refuse_step('a fence, revision, sequence or attempt took an illegal step');
