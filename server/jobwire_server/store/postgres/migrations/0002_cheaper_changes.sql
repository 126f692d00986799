-- PostgreSQL writes all indexes of a row anew whenever one of its indexed columns changes, and the state of a job always
-- does. So what never changes of a job, and is looked up, stands in a table of its own: one entry there when it is
-- created, none when it is leased, retried or completed.

-- Which job is meant: by its id, or among those of a queue, a type, a batch. Filled and emptied by the triggers below.
CREATE TABLE jobwire.identity (
  key bigint NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  batch_id text COLLATE "C"
);

INSERT INTO jobwire.identity SELECT key, tenant, id, queue, type, batch_id FROM jobwire.job ORDER BY key;

CREATE UNIQUE INDEX identity_id ON jobwire.identity (tenant, id);
CREATE INDEX identity_queue ON jobwire.identity (tenant, queue, key);
CREATE INDEX identity_type ON jobwire.identity (tenant, type, key);
CREATE INDEX identity_batch ON jobwire.identity (tenant, batch_id, key) WHERE batch_id IS NOT NULL;

ALTER TABLE jobwire.job DROP CONSTRAINT job_id;
DROP INDEX jobwire.job_queue;
DROP INDEX jobwire.job_type;
DROP INDEX jobwire.job_batch;

-- Running jobs are few, come and go, and stand in job_lease: without them, a lease writes one index less.
DROP INDEX jobwire.job_state;
CREATE INDEX job_state ON jobwire.job (tenant, state, key) WHERE state <> 3;

CREATE OR REPLACE FUNCTION jobwire.log_created() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO jobwire.identity SELECT key, tenant, id, queue, type, batch_id FROM created;
  INSERT INTO jobwire.event
  SELECT
    revision, key, 1, NULL, 2, tenant, id, queue, type, batch_id, labels, create_us, NULL, state, 0, max_attempts, 0,
    NULL, NULL, NULL, NULL, due_us, NULL, NULL, change_us
  FROM created;
  RETURN NULL;
END $$;

CREATE FUNCTION jobwire.forget_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM jobwire.identity AS i USING gone WHERE i.tenant = gone.tenant AND i.id = gone.id;
  RETURN NULL;
END $$;

CREATE TRIGGER job_removed AFTER DELETE ON jobwire.job REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION jobwire.forget_identity();
