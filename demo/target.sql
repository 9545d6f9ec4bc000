-- The registries: one row per record to replicate. State 0 is pending, 1 started, 2 synced, 3 failed.
-- fencepost's role may read them, add rows, and take back what it added; the ledger is a schema of its own.
CREATE TABLE public.job_artifact_registry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    artifact_id bigint NOT NULL UNIQUE,
    state smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE public.lfs_object_registry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lfs_object_id bigint NOT NULL UNIQUE,
    state smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE public.upload_registry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    upload_id uuid NOT NULL UNIQUE,
    state smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE ROLE fencepost_writer LOGIN;
GRANT SELECT, INSERT, DELETE ON public.job_artifact_registry, public.lfs_object_registry, public.upload_registry
    TO fencepost_writer;
CREATE ROLE fencepost LOGIN;
CREATE SCHEMA fencepost AUTHORIZATION fencepost;
