-- The first schema. A shipped migration is never edited (its checksum is recorded); a change is a new file.
-- The tables, columns and numbers are those of store/sqlite/migrations, so that a store can be carried from one to the
-- other. Times are microseconds since the epoch (…_us). States: 1 SCHEDULED, 2 PENDING, 3 PROCESSING, 4 RETRYING,
-- 5 COMPLETED, 6 FAILED, 7 CANCELLED, 8 EXPIRED, 9 BLOCKED. Names sort as their bytes do, in every database.

-- epoch: identity of the store. compacted: events up to and including this revision may be gone.
CREATE TABLE jobwire.meta (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch text NOT NULL,
  compacted bigint NOT NULL
);

-- Keys for lease and page tokens: any server, after any restart, can check them.
CREATE TABLE jobwire.secret (
  purpose text COLLATE "C" PRIMARY KEY,
  value bytea NOT NULL CHECK (length(value) = 32)
);

-- key: the revision of the job's creation, hence unique for ever and in order of age.
CREATE TABLE jobwire.job (
  key bigint PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  id_chosen smallint NOT NULL,
  state smallint NOT NULL CHECK (state BETWEEN 1 AND 9),
  revision bigint NOT NULL CHECK (revision >= key),
  sequence integer NOT NULL CHECK (sequence >= 1),
  attempt integer NOT NULL,
  max_attempts integer NOT NULL CHECK (max_attempts >= 1),
  fence bigint NOT NULL CHECK (fence >= 0),
  losses integer NOT NULL CHECK (losses >= 0),
  queue text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
  due_us bigint NOT NULL,
  create_us bigint NOT NULL,
  change_us bigint NOT NULL,
  start_us bigint,
  finish_us bigint,
  cancel_us bigint,
  lease_expire_us bigint,
  purge_us bigint,
  transport smallint,
  instance_id text COLLATE "C",
  worker_id text,
  progress_percent double precision,
  progress_message text,
  last_error text,
  cancel_reason text,
  batch_id text COLLATE "C",
  schedule_us bigint,
  expire_us bigint,
  timeout_us bigint,
  retention_us bigint,
  retry text,
  labels text,
  headers text,
  -- form: NULL none, 0 bytes, 1 text. Small content stands in the row, large content in the table `content`.
  payload_form smallint,
  payload_type text,
  payload_encoding text,
  payload_size bigint NOT NULL,
  payload bytea,
  result_form smallint,
  result_type text,
  result_encoding text,
  result_size bigint NOT NULL DEFAULT 0,
  result bytea,
  checkpointed smallint NOT NULL DEFAULT 0,
  CONSTRAINT job_id UNIQUE (tenant, id),
  CHECK (attempt BETWEEN 0 AND max_attempts),
  CHECK (checkpointed = 0 OR state <> 5),
  CHECK ((state = 3) = (lease_expire_us IS NOT NULL)),
  CHECK ((state = 3) = (instance_id IS NOT NULL)),
  CHECK ((state = 3) = (transport IS NOT NULL)),
  CHECK ((state BETWEEN 5 AND 8) = (finish_us IS NOT NULL)),
  CHECK ((state BETWEEN 5 AND 8) = (purge_us IS NOT NULL))
) WITH (
  -- Room in the page for the next versions of a row, and a vacuum that comes early and does not dawdle: each job is
  -- written three times at least, and dead rows are what slows claims down.
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0.05
);

-- The claim: queue and type lead, so that a backlog nobody serves stands in nobody's way. Only what waits is in it, so
-- that finished jobs cost it nothing.
CREATE INDEX job_claim ON jobwire.job (queue, type, priority DESC, due_us, key) WHERE state = 2;
-- A statement that takes jobs by their keys asks for `state IS NOT DISTINCT FROM 3`, so that the planner, which may know
-- nothing of the table yet, cannot mistake an index of all leases for the short way.
CREATE INDEX job_due ON jobwire.job (due_us, key) WHERE state IN (1, 4);
CREATE INDEX job_lease ON jobwire.job (instance_id, transport, lease_expire_us, key) WHERE state = 3;
CREATE INDEX job_expire ON jobwire.job (expire_us, key) WHERE expire_us IS NOT NULL AND state IN (1, 2, 4, 9);
CREATE INDEX job_purge ON jobwire.job (purge_us, key) WHERE purge_us IS NOT NULL;
CREATE INDEX job_state ON jobwire.job (tenant, state, key);
CREATE INDEX job_queue ON jobwire.job (tenant, queue, key);
CREATE INDEX job_type ON jobwire.job (tenant, type, key);
CREATE INDEX job_batch ON jobwire.job (tenant, batch_id, key) WHERE batch_id IS NOT NULL;

CREATE TABLE jobwire.label (
  tenant text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  key bigint NOT NULL,
  PRIMARY KEY (tenant, name, value, key)
);

-- Payloads (id = 2 × key) and results (2 × key + 1) too large to stand in the row: neither a claim nor a sweep reads or
-- rewrites them.
CREATE TABLE jobwire.content (
  id bigint PRIMARY KEY,
  data bytea NOT NULL
);
ALTER TABLE jobwire.content ALTER COLUMN data SET STORAGE EXTERNAL;

-- Attempts that ended otherwise than well; the last one of a job also stands in its row.
CREATE TABLE jobwire.attempt (
  key bigint NOT NULL,
  fence bigint NOT NULL,
  number integer NOT NULL,
  worker_id text NOT NULL,
  start_us bigint NOT NULL,
  finish_us bigint NOT NULL,
  error text,
  PRIMARY KEY (key, fence)
);

-- What an attempt left for the next one; the flag in the job's row says whether there is one to read.
CREATE TABLE jobwire.checkpoint (
  key bigint PRIMARY KEY,
  form smallint NOT NULL,
  type text,
  encoding text,
  data bytea NOT NULL
);
ALTER TABLE jobwire.checkpoint ALTER COLUMN data SET STORAGE EXTERNAL;

-- One row per transition, written by the triggers below: no change can forget its event. The order of `revision` is the
-- order of commits (docs/adr/0019); `previous` names the event of the same job before this one.
CREATE TABLE jobwire.event (
  revision bigint PRIMARY KEY,
  key bigint NOT NULL,
  sequence integer NOT NULL,
  previous bigint CHECK (previous < revision),
  kind smallint NOT NULL CHECK (kind IN (2, 3, 5)),
  tenant text COLLATE "C" NOT NULL,
  job_id text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  batch_id text COLLATE "C",
  labels text,
  create_us bigint NOT NULL,
  previous_state smallint,
  state smallint NOT NULL,
  attempt integer NOT NULL,
  max_attempts integer NOT NULL,
  fence bigint NOT NULL,
  worker_id text,
  last_error text,
  start_us bigint,
  finish_us bigint,
  due_us bigint NOT NULL,
  lease_expire_us bigint,
  cancel_us bigint,
  time_us bigint NOT NULL
) WITH (
  -- Written once and removed from its old end.
  fillfactor = 100,
  autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_insert_scale_factor = 0.1,
  autovacuum_vacuum_cost_delay = 0
);

-- 1, 2, 3 … for each job, and its history without a look at that of others.
CREATE UNIQUE INDEX event_sequence ON jobwire.event (key, sequence);
-- Finds the key of a job that is gone by its id; only deletions pay for it.
CREATE INDEX event_deleted ON jobwire.event (tenant, job_id) WHERE kind = 5;

-- What an idempotency key stands for: the jobs with keys first_key … first_key + count - 1.
CREATE TABLE jobwire.request_key (
  tenant text COLLATE "C" NOT NULL,
  request_id text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  first_key bigint NOT NULL,
  count integer NOT NULL CHECK (count >= 1),
  batch_id text COLLATE "C",
  create_us bigint NOT NULL,
  orphan smallint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, request_id)
);

CREATE INDEX request_key_jobs ON jobwire.request_key (first_key);
-- Kept for their age alone; the sweep reads nothing else, however many living jobs have a key.
CREATE INDEX request_key_orphan ON jobwire.request_key (create_us) WHERE orphan = 1;

-- Ids that callers chose and whose jobs are gone: not to be used again for a while.
CREATE TABLE jobwire.tombstone (
  tenant text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  until_us bigint NOT NULL,
  PRIMARY KEY (tenant, id)
);

CREATE INDEX tombstone_until ON jobwire.tombstone (until_us);

-- Servers that are there. Whoever has not said so again in time is dead, and what its own pool ran goes back.
CREATE TABLE jobwire.server (
  instance_id text COLLATE "C" PRIMARY KEY,
  alive_until_us bigint NOT NULL
);

-- The one clock of the service: leases, due times and ages are judged by it, whatever the clocks of the servers say.
CREATE FUNCTION jobwire.now_us() RETURNS bigint LANGUAGE sql VOLATILE
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- What holds for a transaction, set anew in each, since a pooler may hand the session to somebody else in between: where
-- the names are found, and that a statement takes the few rows that it names by their index, whatever the statistics say.
CREATE FUNCTION jobwire.enter(statement_ms integer, idle_ms integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM
    set_config('search_path', 'jobwire, pg_temp', true),
    set_config('statement_timeout', statement_ms::text, true),
    set_config('idle_in_transaction_session_timeout', idle_ms::text, true),
    set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true),
    set_config('jit', 'off', true);
END $$;

-- Begins a transaction that writes: waits until no other one does, then says where the log stands. The lock ends with the
-- transaction, after what it did can be seen. It is asked for in a statement of its own, so that what follows sees it.
CREATE FUNCTION jobwire.enter_write(lock_ms integer, statement_ms integer, idle_ms integer)
RETURNS TABLE (epoch text, revision bigint, compacted bigint, now_us bigint) LANGUAGE plpgsql AS $$
DECLARE
  newest jobwire.event.revision%TYPE;
  newest_us jobwire.event.time_us%TYPE;
BEGIN
  PERFORM jobwire.enter(statement_ms, idle_ms), set_config('lock_timeout', lock_ms::text, true);
  PERFORM pg_advisory_xact_lock(7669765473206166);
  SELECT e.revision, e.time_us INTO newest, newest_us FROM jobwire.event AS e ORDER BY e.revision DESC LIMIT 1;
  RETURN QUERY
    SELECT m.epoch, greatest(newest, m.compacted), m.compacted, greatest(jobwire.now_us(), newest_us)
    FROM jobwire.meta AS m;
END $$;

CREATE FUNCTION jobwire.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[0];
END $$;

CREATE TRIGGER job_begins AFTER INSERT ON jobwire.job FOR EACH ROW
WHEN (
  NEW.state NOT IN (1, 2) OR NEW.sequence <> 1 OR NEW.attempt <> 0 OR NEW.fence <> 0 OR NEW.revision <> NEW.key
)
EXECUTE FUNCTION jobwire.refuse('a job begins SCHEDULED or PENDING, at sequence 1, without attempt or fence');

-- The transitions are those of domain/lifecycle.py; a test holds the two to each other, pair by pair.
CREATE TRIGGER job_legal AFTER UPDATE OF state ON jobwire.job FOR EACH ROW
WHEN (
  NEW.state <> OLD.state AND NOT CASE OLD.state
    WHEN 2 THEN NEW.state IN (3, 7, 8)
    WHEN 3 THEN NEW.state IN (1, 2, 4, 5, 6, 7, 8)
    WHEN 1 THEN NEW.state IN (2, 7, 8)
    WHEN 4 THEN NEW.state IN (2, 7, 8)
    WHEN 9 THEN NEW.state IN (2, 7, 8)
    WHEN 5 THEN false
    ELSE NEW.state IN (1, 2)
  END
)
EXECUTE FUNCTION jobwire.refuse('illegal transition');

CREATE TRIGGER job_steps AFTER UPDATE OF state, revision, sequence, attempt, fence ON jobwire.job FOR EACH ROW
WHEN (
  NEW.fence < OLD.fence
  OR NEW.fence > OLD.fence + 1
  OR NEW.revision <= OLD.revision
  OR NEW.sequence <> OLD.sequence + 1
  OR NEW.attempt > OLD.attempt + CASE WHEN NEW.state = 3 AND OLD.state = 2 THEN 1 ELSE 0 END
  OR NEW.attempt < OLD.attempt - CASE WHEN OLD.state = 3 THEN 1 ELSE 0 END
)
EXECUTE FUNCTION jobwire.refuse('a fence, revision, sequence or attempt took an illegal step');

CREATE TRIGGER job_immutable AFTER UPDATE OF key, tenant, id, queue, type, create_us ON jobwire.job FOR EACH ROW
EXECUTE FUNCTION jobwire.refuse('the identity of a job never changes');

-- The events of all rows that a statement has created, or changed, in one go.
CREATE FUNCTION jobwire.log_created() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO jobwire.event
  SELECT
    revision, key, 1, NULL, 2, tenant, id, queue, type, batch_id, labels, create_us, NULL, state, 0, max_attempts, 0,
    NULL, NULL, NULL, NULL, due_us, NULL, NULL, change_us
  FROM created;
  RETURN NULL;
END $$;

CREATE TRIGGER job_created AFTER INSERT ON jobwire.job REFERENCING NEW TABLE AS created
FOR EACH STATEMENT EXECUTE FUNCTION jobwire.log_created();

-- The plan is kept from the first call on, whose number of rows says nothing about the next: never row by row.
CREATE FUNCTION jobwire.log_changed() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off SET enable_hashjoin = on AS $$
BEGIN
  INSERT INTO jobwire.event
  SELECT
    n.revision, n.key, n.sequence, o.revision, 3, n.tenant, n.id, n.queue, n.type, n.batch_id, n.labels, n.create_us,
    o.state, n.state, n.attempt, n.max_attempts, n.fence, n.worker_id, n.last_error, n.start_us, n.finish_us, n.due_us,
    n.lease_expire_us, n.cancel_us, n.change_us
  FROM after AS n
  JOIN before AS o ON o.key = n.key
  WHERE n.revision <> o.revision;
  RETURN NULL;
END $$;

CREATE TRIGGER job_changed AFTER UPDATE ON jobwire.job REFERENCING OLD TABLE AS before NEW TABLE AS after
FOR EACH STATEMENT EXECUTE FUNCTION jobwire.log_changed();

-- A checkpoint goes with the success of its job, or with the job.
CREATE FUNCTION jobwire.drop_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM jobwire.checkpoint WHERE key = OLD.key;
  RETURN NULL;
END $$;

CREATE TRIGGER job_checkpoint_used AFTER UPDATE OF checkpointed ON jobwire.job FOR EACH ROW
WHEN (NEW.checkpointed < OLD.checkpointed) EXECUTE FUNCTION jobwire.drop_checkpoint();

CREATE TRIGGER job_checkpoint_removed AFTER DELETE ON jobwire.job FOR EACH ROW
WHEN (OLD.checkpointed = 1) EXECUTE FUNCTION jobwire.drop_checkpoint();
