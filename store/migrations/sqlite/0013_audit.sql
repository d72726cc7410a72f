-- The audit trail: records, and the hashes of the Merkle tree over them. See the package internal/audit.
CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY CHECK (seq > 0),
    at           INTEGER NOT NULL, -- nanoseconds since 1970-01-01 UTC
    action       TEXT NOT NULL CHECK (action <> ''),
    container_id TEXT NOT NULL, -- '' if it is about none
    record       TEXT NOT NULL CHECK (json_valid(record))
) STRICT;
CREATE INDEX audit_by_container ON audit (container_id, seq) WHERE container_id <> '';
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE audit_hashes (
    idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- One row: the id of the trail, the key of change digests, the number of records, and the first record that retention
-- has left.
CREATE TABLE audit_head (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    log    TEXT NOT NULL,
    secret BLOB NOT NULL CHECK (length(secret) = 32),
    size   INTEGER NOT NULL,
    first  INTEGER NOT NULL
) STRICT;
INSERT INTO audit_head (one, log, secret, size, first) VALUES (1, lower(hex(randomblob(16))), randomblob(32), 0, 1);

CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'a record of the audit trail never changes'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit WHEN OLD.seq >= (SELECT first FROM audit_head)
BEGIN SELECT raise(ABORT, 'a record of the audit trail stays until audit_keep is over'); END;
CREATE TRIGGER audit_hashes_never_change BEFORE UPDATE ON audit_hashes
BEGIN SELECT raise(ABORT, 'the hashes of the audit trail never change'); END;
CREATE TRIGGER audit_hashes_stay BEFORE DELETE ON audit_hashes
BEGIN SELECT raise(ABORT, 'the hashes of the audit trail stay'); END;
CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head
BEGIN SELECT raise(ABORT, 'the head of the audit trail stays'); END;
CREATE TRIGGER audit_head_grows BEFORE UPDATE ON audit_head
WHEN NEW.log <> OLD.log OR NEW.secret <> OLD.secret OR NEW.size < OLD.size OR NEW.first < OLD.first OR NEW.first > OLD.size + 1
BEGIN SELECT raise(ABORT, 'the audit trail only grows'); END;

-- The Terraform operations that have begun and not ended, by the record of their beginning.
CREATE TABLE audit_open (
    begun     INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL CHECK (workspace <> ''),
    number    INTEGER NOT NULL,
    daemon_id TEXT NOT NULL,
    home      TEXT NOT NULL
) STRICT;

-- The last record that a sink has.
CREATE TABLE audit_cursors (
    sink TEXT PRIMARY KEY CHECK (sink <> ''),
    seq  INTEGER NOT NULL
) STRICT;
