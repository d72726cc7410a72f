-- A database of schema version 7, as sqlite3's .dump writes it, with shorter JSON.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE containers (
    id           TEXT PRIMARY KEY CHECK (length(id) = 64),
    name         TEXT NOT NULL UNIQUE CHECK (name <> ''),
    config       TEXT NOT NULL CHECK (json_valid(config)),
    host_config  TEXT NOT NULL CHECK (json_valid(host_config)),
    networking   TEXT NOT NULL CHECK (json_valid(networking)),
    state        TEXT NOT NULL CHECK (state IN ('creating', 'created', 'running', 'exited', 'removing', 'dead')),
    error        TEXT NOT NULL DEFAULT '',
    exit_code    INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    function_app TEXT NOT NULL,
    resource_id  TEXT NOT NULL DEFAULT '',
    host_name    TEXT NOT NULL DEFAULT '',
    plan_summary TEXT NOT NULL DEFAULT '', image_id TEXT REFERENCES images (id) ON DELETE SET NULL, failures INTEGER NOT NULL DEFAULT 0, retry_at INTEGER,

    CHECK (state NOT IN ('created', 'running', 'exited') OR (resource_id <> '' AND host_name <> '')),
    CHECK (state <> 'running' OR (started_at IS NOT NULL AND finished_at IS NULL)),
    CHECK (state <> 'exited' OR (started_at IS NOT NULL AND finished_at IS NOT NULL)),
    CHECK (state <> 'dead' OR error <> '')
) STRICT;
INSERT INTO containers VALUES('cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','nc','{"Image":"alpine","Labels":null}','{"NetworkMode":"","AutoRemove":false}','{"EndpointsConfig":null}','running','',0,1795435200000000000,1795435200000000000,NULL,'app','/subscriptions/s/sites/a','a.azurewebsites.net','1 to add, 0 to change, 0 to destroy','sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',0,NULL);
INSERT INTO containers VALUES('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','nbbbb','{"Image":"","Labels":null}','{"NetworkMode":"","AutoRemove":false}','{"EndpointsConfig":null}','exited','',0,1795435201000000000,1795435201000000000,1795435201000000000,'app','/subscriptions/s/sites/a','a.azurewebsites.net','1 to add, 0 to change, 0 to destroy',NULL,0,NULL);
INSERT INTO containers VALUES('dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','ndddd','{"Image":"","Labels":null}','{"NetworkMode":"","AutoRemove":false}','{"EndpointsConfig":null}','dead','quota',0,1795435201000000000,NULL,NULL,'app','','','',NULL,1,1795435261000000000);
CREATE TABLE runs (
    id           TEXT PRIMARY KEY,
    container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    trace_id     TEXT NOT NULL,
    span_id      TEXT NOT NULL,
    started_at   INTEGER NOT NULL,
    sent_at      INTEGER, -- just before the function app was called
    finished_at  INTEGER,
    exit_code    INTEGER NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    output       TEXT NOT NULL DEFAULT 'null' CHECK (json_valid(output)),
    truncated    INTEGER NOT NULL DEFAULT 0 CHECK (truncated IN (0, 1))
) STRICT;
INSERT INTO runs VALUES('run-c','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','t','s',1795435200000000000,NULL,NULL,0,'','null',0);
INSERT INTO runs VALUES('run-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','t','s',1795435201000000000,NULL,1795435201000000000,0,'','null',0);
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL, -- nanoseconds since 1970-01-01 UTC
    type       TEXT NOT NULL CHECK (type IN ('container', 'image')),
    action     TEXT NOT NULL CHECK (action <> ''),
    actor_id   TEXT NOT NULL,
    attributes TEXT NOT NULL CHECK (json_valid(attributes))
) STRICT;
INSERT INTO events VALUES(0,1795435200000000000,'container','destroy','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','{"image":"alpine","name":"neeee"}');
INSERT INTO events VALUES(1,1795435200000000000,'image','pull','alpine:latest','{"name":"alpine:latest"}');
INSERT INTO events VALUES(2,1795435200000000000,'container','create','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','{"image":"alpine","name":"nc"}');
INSERT INTO events VALUES(3,1795435200000000000,'container','start','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','{"image":"alpine","name":"nc"}');
INSERT INTO events VALUES(4,1795435201000000000,'container','create','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','{"image":"","name":"nbbbb"}');
INSERT INTO events VALUES(5,1795435201000000000,'container','start','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','{"image":"","name":"nbbbb"}');
INSERT INTO events VALUES(6,1795435201000000000,'container','die','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','{"execDuration":"0","exitCode":"0","image":"","name":"nbbbb"}');
CREATE TABLE images (
    id          TEXT PRIMARY KEY CHECK (instr(id, ':') > 1),
    resolved    INTEGER NOT NULL CHECK (resolved IN (0, 1)),
    error       TEXT NOT NULL DEFAULT '', -- why it is not resolved, empty when nobody tried
    spec        TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(spec)),
    layer_sizes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(layer_sizes)),
    size        INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
    recorded_at INTEGER NOT NULL,

    CHECK (resolved = 0 OR error = '')
) STRICT;
INSERT INTO images VALUES('sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,'','{"architecture":"","os":"linux","rootfs":{"type":"","diff_ids":null},"config":{"Env":["C=a"]}}','[1,2]',4,1795435200000000000);
CREATE TABLE image_names (
    name     TEXT PRIMARY KEY CHECK (name <> ''),
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
, local INTEGER NOT NULL DEFAULT 0 CHECK (local IN (0, 1))) STRICT;
INSERT INTO image_names VALUES('docker.io/library/alpine@sha256:1111111111111111111111111111111111111111111111111111111111111111','sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',0);
INSERT INTO image_names VALUES('docker.io/library/alpine:latest','sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',0);
CREATE TABLE outcomes (
    job     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL, -- nanoseconds since 1970-01-01 UTC
    outcome TEXT NOT NULL CHECK (json_valid(outcome))
) STRICT;
INSERT INTO outcomes VALUES(7,1795435201000000000,'{"failed":true,"kind":7,"message":"quota"}');
CREATE TABLE terraform_runs (
    workspace  TEXT NOT NULL CHECK (workspace <> ''),
    replica    TEXT NOT NULL,
    home       TEXT NOT NULL,
    who        TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL, -- when the daemon last worked on it
    lost_at    INTEGER,          -- when the daemon was missed

    PRIMARY KEY (workspace, replica)
) STRICT;
INSERT INTO terraform_runs VALUES('foundation','azf-00000001','/var/lib/one','root@ci',1795435201000000000,1795435201000000000,1795435261000000000);
INSERT INTO terraform_runs VALUES('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','azf-00000001','/var/lib/one','root@ci',1795435201000000000,1795435261000000000,NULL);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('events',6);
CREATE UNIQUE INDEX runs_one_running_per_container ON runs (container_id) WHERE finished_at IS NULL;
CREATE INDEX runs_latest ON runs (container_id, started_at);
CREATE INDEX events_of_actor ON events (actor_id, seq);
CREATE INDEX image_names_of_image ON image_names (image_id);
CREATE INDEX containers_of_image ON containers (image_id);
CREATE INDEX outcomes_old ON outcomes (at);
PRAGMA user_version = 7;
COMMIT;
