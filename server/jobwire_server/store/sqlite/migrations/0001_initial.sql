-- The first schema. A shipped migration is never edited (its checksum is recorded); a change is a new file.
-- Times are microseconds since the epoch (…_us). States: 1 SCHEDULED, 2 PENDING, 3 PROCESSING, 4 RETRYING,
-- 5 COMPLETED, 6 FAILED, 7 CANCELLED, 8 EXPIRED, 9 BLOCKED.

CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys for lease and page tokens: they must outlive the process that made them.
CREATE TABLE secret (
  purpose TEXT PRIMARY KEY,
  value BLOB NOT NULL CHECK (length(value) = 32)
) STRICT, WITHOUT ROWID;

-- key: the revision of the job's creation, hence unique for ever and in order of age.
CREATE TABLE job (
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
  UNIQUE (tenant, id),
  CHECK ((state = 3) = (lease_expire_us IS NOT NULL)),
  CHECK ((state = 3) = (instance_id IS NOT NULL)),
  CHECK ((state = 3) = (transport IS NOT NULL)),
  CHECK ((state IN (5, 6, 7, 8)) = (finish_us IS NOT NULL)),
  CHECK ((state IN (5, 6, 7, 8)) = (purge_us IS NOT NULL))
) STRICT;

-- The claim: queue and type lead, so that a backlog nobody serves stands in nobody's way.
CREATE INDEX job_claim ON job (queue, type, priority DESC, due_us, key) WHERE state = 2;
CREATE INDEX job_due ON job (due_us) WHERE state IN (1, 4);
CREATE INDEX job_lease ON job (transport, lease_expire_us) WHERE state = 3;
CREATE INDEX job_expire ON job (expire_us) WHERE expire_us IS NOT NULL AND state IN (1, 2, 4, 9);
CREATE INDEX job_purge ON job (purge_us) WHERE purge_us IS NOT NULL;
CREATE INDEX job_state ON job (tenant, state, key);
CREATE INDEX job_queue ON job (tenant, queue, key);
CREATE INDEX job_type ON job (tenant, type, key);
CREATE INDEX job_batch ON job (tenant, batch_id, key) WHERE batch_id IS NOT NULL;

CREATE TABLE label (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  key INTEGER NOT NULL,
  PRIMARY KEY (tenant, name, value, key)
) STRICT, WITHOUT ROWID;

-- Payloads (id = 2 × key) and results (2 × key + 1) too large to stand in the row: neither a claim nor a sweep reads or
-- rewrites them.
CREATE TABLE content (
  id INTEGER PRIMARY KEY,
  data BLOB NOT NULL
) STRICT;

-- Attempts that ended otherwise than well; the last one of a job also stands in its row.
CREATE TABLE attempt (
  key INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  number INTEGER NOT NULL,
  worker_id TEXT NOT NULL,
  start_us INTEGER NOT NULL,
  finish_us INTEGER NOT NULL,
  error TEXT,
  PRIMARY KEY (key, fence)
) STRICT, WITHOUT ROWID;

-- One row per transition, written by the triggers below: no change can forget its event.
CREATE TABLE event (
  revision INTEGER PRIMARY KEY,
  key INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
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
  time_us INTEGER NOT NULL,
  UNIQUE (key, sequence)
) STRICT;

-- Finds the key of a job that is gone by its id; only deletions pay for it.
CREATE INDEX event_deleted ON event (tenant, job_id) WHERE kind = 5;

-- What an idempotency key stands for: the jobs with keys first_key … first_key + count - 1.
CREATE TABLE request_key (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  first_key INTEGER NOT NULL,
  count INTEGER NOT NULL CHECK (count >= 1),
  batch_id TEXT,
  create_us INTEGER NOT NULL,
  orphan INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, request_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX request_key_jobs ON request_key (first_key);
-- Kept for their age alone; the sweep reads nothing else, however many living jobs have a key.
CREATE INDEX request_key_orphan ON request_key (create_us) WHERE orphan = 1;

-- Ids that callers chose and whose jobs are gone: not to be used again for a while.
CREATE TABLE tombstone (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  until_us INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstone_until ON tombstone (until_us);

CREATE TRIGGER job_created AFTER INSERT ON job
BEGIN
  SELECT RAISE(ABORT, 'a job begins SCHEDULED or PENDING, at sequence 1, without attempt or fence')
  WHERE NEW.state NOT IN (1, 2) OR NEW.sequence <> 1 OR NEW.attempt <> 0 OR NEW.fence <> 0 OR NEW.revision <> NEW.key;
  INSERT INTO event VALUES (
    NEW.revision, NEW.key, 1, 2, NEW.tenant, NEW.id, NEW.queue, NEW.type, NEW.batch_id, NEW.labels, NEW.create_us, NULL,
    NEW.state, 0, NEW.max_attempts, 0, NULL, NULL, NULL, NULL, NEW.due_us, NULL, NULL, NEW.change_us
  );
END;

-- The transitions of domain/lifecycle.py; a test holds the two to each other, pair by pair.
CREATE TRIGGER job_legal BEFORE UPDATE OF state ON job
WHEN NEW.state <> OLD.state AND NOT CASE OLD.state
  WHEN 1 THEN NEW.state IN (2, 7, 8)
  WHEN 9 THEN NEW.state IN (2, 7, 8)
  WHEN 2 THEN NEW.state IN (3, 7, 8)
  WHEN 4 THEN NEW.state IN (2, 7, 8)
  WHEN 3 THEN NEW.state IN (1, 2, 4, 5, 6, 7, 8)
  WHEN 5 THEN 0
  WHEN 6 THEN NEW.state IN (1, 2)
  WHEN 7 THEN NEW.state IN (1, 2)
  WHEN 8 THEN NEW.state IN (1, 2)
END
BEGIN
  SELECT RAISE(ABORT, 'illegal transition');
END;

CREATE TRIGGER job_steps BEFORE UPDATE OF state, revision, sequence, attempt, fence ON job
WHEN NEW.fence < OLD.fence
  OR NEW.fence > OLD.fence + 1
  OR NEW.revision <= OLD.revision
  OR NEW.sequence <> OLD.sequence + 1
  OR NEW.attempt > OLD.attempt + (NEW.state = 3 AND OLD.state = 2)
  OR NEW.attempt < OLD.attempt - (OLD.state = 3)
BEGIN
  SELECT RAISE(ABORT, 'a fence, revision, sequence or attempt took an illegal step');
END;

CREATE TRIGGER job_immutable BEFORE UPDATE OF key, tenant, id, queue, type, create_us ON job
BEGIN
  SELECT RAISE(ABORT, 'the identity of a job never changes');
END;

CREATE TRIGGER job_changed AFTER UPDATE OF revision ON job
BEGIN
  INSERT INTO event VALUES (
    NEW.revision, NEW.key, NEW.sequence, 3, NEW.tenant, NEW.id, NEW.queue, NEW.type, NEW.batch_id, NEW.labels,
    NEW.create_us, OLD.state, NEW.state, NEW.attempt, NEW.max_attempts, NEW.fence, NEW.worker_id, NEW.last_error,
    NEW.start_us, NEW.finish_us, NEW.due_us, NEW.lease_expire_us, NEW.cancel_us, NEW.change_us
  );
END;
