-- The audit trail: records, and the hashes of the Merkle tree over them. See the package internal/audit.
CREATE TABLE audit (
    seq          BIGINT PRIMARY KEY CHECK (seq > 0),
    at           BIGINT NOT NULL, -- nanoseconds since 1970-01-01 UTC
    action       TEXT NOT NULL CHECK (action <> ''),
    container_id TEXT COLLATE "C" NOT NULL, -- '' if it is about none
    record       TEXT NOT NULL CHECK (record::json IS NOT NULL)
);
CREATE INDEX audit_by_container ON audit (container_id, seq) WHERE container_id <> '';
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE audit_hashes (
    idx  BIGINT PRIMARY KEY CHECK (idx >= 0),
    hash BYTEA NOT NULL CHECK (length(hash) = 32)
);

-- One row: the id of the trail, the key of change digests, the number of records, and the first record that retention
-- has left.
CREATE TABLE audit_head (
    one    BIGINT PRIMARY KEY CHECK (one = 1),
    log    TEXT NOT NULL,
    secret BYTEA NOT NULL CHECK (length(secret) = 32),
    size   BIGINT NOT NULL,
    first  BIGINT NOT NULL
);
INSERT INTO audit_head (one, log, secret, size, first) VALUES (1, replace(gen_random_uuid()::text, '-', ''),
    sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea), 0, 1);

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail only grows: % of % is refused', TG_OP, TG_TABLE_NAME;
END
$$;

-- Whoever deletes a row may have another search_path.
CREATE FUNCTION audit_pruned_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept BIGINT;
BEGIN
    EXECUTE format('SELECT first FROM %I.audit_head', TG_TABLE_SCHEMA) INTO kept;
    IF OLD.seq >= kept THEN
        RAISE EXCEPTION 'a record of the audit trail stays until audit_keep is over';
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER audit_never_changes BEFORE UPDATE OR TRUNCATE ON audit EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_stays BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_pruned_only();
CREATE TRIGGER audit_hashes_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_hashes EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_head_grows BEFORE UPDATE ON audit_head FOR EACH ROW
    WHEN (NEW.log <> OLD.log OR NEW.secret <> OLD.secret OR NEW.size < OLD.size OR NEW.first < OLD.first OR NEW.first > OLD.size + 1)
    EXECUTE FUNCTION audit_refuse();

-- The Terraform operations that have begun and not ended, by the record of their beginning.
CREATE TABLE audit_open (
    begun     BIGINT PRIMARY KEY,
    workspace TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    number    BIGINT NOT NULL,
    daemon_id TEXT NOT NULL,
    home      TEXT NOT NULL
);

-- The last record that a sink has.
CREATE TABLE audit_cursors (
    sink TEXT PRIMARY KEY CHECK (sink <> ''),
    seq  BIGINT NOT NULL
);
