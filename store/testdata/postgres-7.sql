-- A database of schema version 7, as pg_dump writes it for any schema, with shorter JSON.
CREATE TABLE containers (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    config text NOT NULL,
    host_config text NOT NULL,
    networking text NOT NULL,
    state text NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    exit_code bigint DEFAULT 0 NOT NULL,
    created_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint,
    function_app text NOT NULL,
    resource_id text DEFAULT ''::text NOT NULL,
    host_name text DEFAULT ''::text NOT NULL,
    plan_summary text DEFAULT ''::text NOT NULL,
    image_id text COLLATE pg_catalog."C",
    failures bigint DEFAULT 0 NOT NULL,
    retry_at bigint,
    CONSTRAINT containers_check CHECK (((state <> ALL (ARRAY['created'::text, 'running'::text, 'exited'::text])) OR ((resource_id <> ''::text) AND (host_name <> ''::text)))),
    CONSTRAINT containers_check1 CHECK (((state <> 'running'::text) OR ((started_at IS NOT NULL) AND (finished_at IS NULL)))),
    CONSTRAINT containers_check2 CHECK (((state <> 'exited'::text) OR ((started_at IS NOT NULL) AND (finished_at IS NOT NULL)))),
    CONSTRAINT containers_check3 CHECK (((state <> 'dead'::text) OR (error <> ''::text))),
    CONSTRAINT containers_config_check CHECK (((config)::json IS NOT NULL)),
    CONSTRAINT containers_host_config_check CHECK (((host_config)::json IS NOT NULL)),
    CONSTRAINT containers_id_check CHECK ((length(id) = 64)),
    CONSTRAINT containers_name_check CHECK ((name <> ''::text)),
    CONSTRAINT containers_networking_check CHECK (((networking)::json IS NOT NULL)),
    CONSTRAINT containers_state_check CHECK ((state = ANY (ARRAY['creating'::text, 'created'::text, 'running'::text, 'exited'::text, 'removing'::text, 'dead'::text])))
);
CREATE TABLE events (
    seq bigint NOT NULL,
    at bigint NOT NULL,
    type text NOT NULL,
    action text NOT NULL,
    actor_id text NOT NULL COLLATE pg_catalog."C",
    attributes text NOT NULL,
    CONSTRAINT events_action_check CHECK ((action <> ''::text)),
    CONSTRAINT events_attributes_check CHECK (((attributes)::json IS NOT NULL)),
    CONSTRAINT events_type_check CHECK ((type = ANY (ARRAY['container'::text, 'image'::text])))
);
ALTER TABLE events ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME events_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE image_names (
    name text NOT NULL COLLATE pg_catalog."C",
    image_id text NOT NULL COLLATE pg_catalog."C",
    local boolean DEFAULT false NOT NULL,
    CONSTRAINT image_names_name_check CHECK ((name <> ''::text))
);
CREATE TABLE images (
    id text NOT NULL COLLATE pg_catalog."C",
    resolved boolean NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    spec text DEFAULT '{}'::text NOT NULL,
    layer_sizes text DEFAULT '[]'::text NOT NULL,
    size bigint DEFAULT 0 NOT NULL,
    recorded_at bigint NOT NULL,
    CONSTRAINT images_check CHECK (((NOT resolved) OR (error = ''::text))),
    CONSTRAINT images_id_check CHECK ((strpos(id, ':'::text) > 1)),
    CONSTRAINT images_layer_sizes_check CHECK (((layer_sizes)::json IS NOT NULL)),
    CONSTRAINT images_size_check CHECK ((size >= 0)),
    CONSTRAINT images_spec_check CHECK (((spec)::json IS NOT NULL))
);
CREATE TABLE outcomes (
    job bigint NOT NULL,
    at bigint NOT NULL,
    outcome text NOT NULL,
    CONSTRAINT outcomes_outcome_check CHECK (((outcome)::json IS NOT NULL))
);
CREATE TABLE runs (
    rowid bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    container_id text NOT NULL COLLATE pg_catalog."C",
    trace_id text NOT NULL,
    span_id text NOT NULL,
    started_at bigint NOT NULL,
    sent_at bigint,
    finished_at bigint,
    exit_code bigint DEFAULT 0 NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    output text DEFAULT 'null'::text NOT NULL,
    truncated boolean DEFAULT false NOT NULL,
    CONSTRAINT runs_output_check CHECK (((output)::json IS NOT NULL))
);
ALTER TABLE runs ALTER COLUMN rowid ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME runs_rowid_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE schema_version (
    version integer
);
CREATE TABLE terraform_runs (
    workspace text NOT NULL,
    replica text NOT NULL,
    home text NOT NULL,
    who text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    lost_at bigint,
    CONSTRAINT terraform_runs_workspace_check CHECK ((workspace <> ''::text))
);
INSERT INTO containers VALUES ('cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', 'nc', '{"Image":"alpine","Labels":null}', '{"NetworkMode":"","AutoRemove":false}', '{"EndpointsConfig":null}', 'running', '', 0, 1795435200000000000, 1795435200000000000, NULL, 'app', '/subscriptions/s/sites/a', 'a.azurewebsites.net', '1 to add, 0 to change, 0 to destroy', 'sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 0, NULL);
INSERT INTO containers VALUES ('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 'nbbbb', '{"Image":"","Labels":null}', '{"NetworkMode":"","AutoRemove":false}', '{"EndpointsConfig":null}', 'exited', '', 0, 1795435201000000000, 1795435201000000000, 1795435201000000000, 'app', '/subscriptions/s/sites/a', 'a.azurewebsites.net', '1 to add, 0 to change, 0 to destroy', NULL, 0, NULL);
INSERT INTO containers VALUES ('dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', 'ndddd', '{"Image":"","Labels":null}', '{"NetworkMode":"","AutoRemove":false}', '{"EndpointsConfig":null}', 'dead', 'quota', 0, 1795435201000000000, NULL, NULL, 'app', '', '', '', NULL, 1, 1795435261000000000);
INSERT INTO events OVERRIDING SYSTEM VALUE VALUES (0, 1795435200000000000, 'container', 'destroy', 'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee', '{"image":"alpine","name":"neeee"}');
INSERT INTO events OVERRIDING SYSTEM VALUE VALUES (1, 1795435200000000000, 'image', 'pull', 'alpine:latest', '{"name":"alpine:latest"}');
INSERT INTO events OVERRIDING SYSTEM VALUE VALUES (2, 1795435200000000000, 'container', 'create', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', '{"image":"alpine","name":"nc"}');
INSERT INTO events OVERRIDING SYSTEM VALUE VALUES (3, 1795435200000000000, 'container', 'start', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', '{"image":"alpine","name":"nc"}');
INSERT INTO events OVERRIDING SYSTEM VALUE VALUES (4, 1795435201000000000, 'container', 'create', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', '{"image":"","name":"nbbbb"}');
INSERT INTO events OVERRIDING SYSTEM VALUE VALUES (5, 1795435201000000000, 'container', 'start', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', '{"image":"","name":"nbbbb"}');
INSERT INTO events OVERRIDING SYSTEM VALUE VALUES (6, 1795435201000000000, 'container', 'die', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', '{"execDuration":"0","exitCode":"0","image":"","name":"nbbbb"}');
INSERT INTO image_names VALUES ('docker.io/library/alpine@sha256:1111111111111111111111111111111111111111111111111111111111111111', 'sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', false);
INSERT INTO image_names VALUES ('docker.io/library/alpine:latest', 'sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', false);
INSERT INTO images VALUES ('sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', true, '', '{"architecture":"","os":"linux","rootfs":{"type":"","diff_ids":null},"config":{"Env":["C=a"]}}', '[1,2]', 4, 1795435200000000000);
INSERT INTO outcomes VALUES (7, 1795435201000000000, '{"failed":true,"kind":7,"message":"quota"}');
INSERT INTO runs OVERRIDING SYSTEM VALUE VALUES (1, 'run-c', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', 't', 's', 1795435200000000000, NULL, NULL, 0, '', 'null', false);
INSERT INTO runs OVERRIDING SYSTEM VALUE VALUES (2, 'run-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 't', 's', 1795435201000000000, NULL, 1795435201000000000, 0, '', 'null', false);
INSERT INTO schema_version VALUES (7);
INSERT INTO terraform_runs VALUES ('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 'azf-00000001', '/var/lib/one', 'root@ci', 1795435201000000000, 1795435261000000000, NULL);
INSERT INTO terraform_runs VALUES ('foundation', 'azf-00000001', '/var/lib/one', 'root@ci', 1795435201000000000, 1795435201000000000, 1795435261000000000);
SELECT pg_catalog.setval('events_seq_seq', 6, true);
SELECT pg_catalog.setval('runs_rowid_seq', 2, true);
ALTER TABLE ONLY containers
    ADD CONSTRAINT containers_name_key UNIQUE (name);
ALTER TABLE ONLY containers
    ADD CONSTRAINT containers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY events
    ADD CONSTRAINT events_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY image_names
    ADD CONSTRAINT image_names_pkey PRIMARY KEY (name);
ALTER TABLE ONLY images
    ADD CONSTRAINT images_pkey PRIMARY KEY (id);
ALTER TABLE ONLY outcomes
    ADD CONSTRAINT outcomes_pkey PRIMARY KEY (job);
ALTER TABLE ONLY runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runs
    ADD CONSTRAINT runs_rowid_key UNIQUE (rowid);
ALTER TABLE ONLY terraform_runs
    ADD CONSTRAINT terraform_runs_pkey PRIMARY KEY (workspace, replica);
CREATE INDEX containers_of_image ON containers USING btree (image_id);
CREATE INDEX events_of_actor ON events USING btree (actor_id, seq);
CREATE INDEX image_names_of_image ON image_names USING btree (image_id);
CREATE INDEX outcomes_old ON outcomes USING btree (at);
CREATE INDEX runs_latest ON runs USING btree (container_id, started_at);
CREATE UNIQUE INDEX runs_one_running_per_container ON runs USING btree (container_id) WHERE (finished_at IS NULL);
ALTER TABLE ONLY containers
    ADD CONSTRAINT containers_image_id_fkey FOREIGN KEY (image_id) REFERENCES images(id) ON DELETE SET NULL;
ALTER TABLE ONLY image_names
    ADD CONSTRAINT image_names_image_id_fkey FOREIGN KEY (image_id) REFERENCES images(id) ON DELETE CASCADE;
ALTER TABLE ONLY runs
    ADD CONSTRAINT runs_container_id_fkey FOREIGN KEY (container_id) REFERENCES containers(id) ON DELETE CASCADE;
