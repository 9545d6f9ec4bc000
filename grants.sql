-- Three roles of least privilege for fencepost, one side at a time. Run with psql as a superuser or the tables' owner; it
-- may be run again, and takes nothing away.
--
--   psql "$SOURCE"   -v side=source   -v tables='public.job_artifacts, public.lfs_objects' -f grants.sql
--   psql "$REGISTRY" -v side=registry -v tables='public.job_artifact_registry'             -f grants.sql
--   psql "$LEDGER"   -v side=ledger                                                        -f grants.sql
--
-- Names of tables are written as in SQL, quoted where they must be. Other variables, with their defaults:
--   reader=fencepost_reader  writer=fencepost_writer  owner=fencepost  schema=fencepost  (the ledger's)
-- No password is set here, so that none stands in a shell's history: use \password, or pg_hba.conf. Afterwards
-- `fencepost check` says what is missing, and what is too much.

\set ON_ERROR_STOP on
\set QUIET on
\if :{?reader} \else \set reader fencepost_reader \endif
\if :{?writer} \else \set writer fencepost_writer \endif
\if :{?owner}  \else \set owner fencepost \endif
\if :{?schema} \else \set schema fencepost \endif
\if :{?side}   \else \set side '' \endif
\if :{?tables} \else \set tables '' \endif
SELECT :'side' = 'source' AS at_source, :'side' = 'registry' AS at_registry, :'side' = 'ledger' AS at_ledger,
       :'side' NOT IN ('source', 'registry', 'ledger') AS nowhere,
       :'side' IN ('source', 'registry') AS tabled,
       :'side' IN ('source', 'registry') AND trim(:'tables') = '' AS tableless \gset
\if :nowhere
  DO $$BEGIN RAISE EXCEPTION 'say which side this is: -v side=source, -v side=registry or -v side=ledger'; END$$;
\endif
\if :tableless
  DO $$BEGIN RAISE EXCEPTION 'say which tables: -v tables=''public.a, public.b'''; END$$;
\endif

BEGIN;

-- The tables and their partitions.
\if :tabled
CREATE TEMP TABLE touched ON COMMIT DROP AS
SELECT DISTINCT c.oid AS relid, c.relnamespace
  FROM regexp_split_to_table(trim(:'tables'), '\s*,\s*') AS name
 CROSS JOIN LATERAL (SELECT name::regclass::oid UNION SELECT relid FROM pg_partition_tree(name::regclass)) AS part (relid)
  JOIN pg_class c ON c.oid = part.relid;
\endif

-- The source ---------------------------------------------------------------------------------------------------------
-- Only ever read. SELECT on the whole table and not on columns: the snapshot locks tables in ACCESS SHARE mode, for which
-- PostgreSQL wants it. Partitions are granted too, as they stand now: a table whose key has no index in order is read
-- partition by partition. Run this again after adding some, or set default privileges in their schema.
\if :at_source
SELECT format('CREATE ROLE %I LOGIN CONNECTION LIMIT 20', :'reader')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'reader') \gexec
SELECT format('GRANT USAGE ON SCHEMA %s TO %I', relnamespace::regnamespace, :'reader') FROM touched
 GROUP BY relnamespace \gexec
SELECT format('GRANT SELECT ON TABLE %s TO %I', relid::regclass, :'reader') FROM touched \gexec
-- A second belt: even a grant to PUBLIC does not let it write by accident.
ALTER ROLE :"reader" SET default_transaction_read_only = on;
-- So that the fence tells autovacuum and other applications from writers. Without it it waits for more than it must.
SELECT format('GRANT pg_read_all_stats TO %I', :'reader')
 WHERE NOT pg_has_role(:'reader', 'pg_read_all_stats', 'MEMBER') \gexec
-- Where row-level security is enabled on a source table, either make a policy that shows this role every row that counts
-- and accept CANNOT TELL (nobody can prove that it does), or, as a superuser:
--   ALTER ROLE fencepost_reader BYPASSRLS;
-- Where EXECUTE was taken from PUBLIC, the proof `identity` needs it:
--   GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() TO fencepost_reader;
\endif

-- The registry -------------------------------------------------------------------------------------------------------
-- Reads and inserts registry rows. DELETE is for `fencepost undo`, for rows whose source row vanished while they were
-- inserted, and for the lock of a registry without a unique index. No UPDATE: a row that stands is never changed. (Where
-- `orphans: {state: 5}` is set, GRANT UPDATE (state) by hand.)
\if :at_registry
SELECT format('CREATE ROLE %I LOGIN CONNECTION LIMIT 20', :'writer')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'writer') \gexec
SELECT format('GRANT USAGE ON SCHEMA %s TO %I', relnamespace::regnamespace, :'writer') FROM touched
 GROUP BY relnamespace \gexec
SELECT format('GRANT SELECT, INSERT, DELETE ON TABLE %s TO %I', relid::regclass, :'writer') FROM touched \gexec
-- Sequences that a default draws from (serial); identity columns need nothing.
SELECT DISTINCT format('GRANT USAGE ON SEQUENCE %s TO %I', s.oid::regclass, :'writer')
  FROM touched
  JOIN pg_attrdef f ON f.adrelid = touched.relid
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
  JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' \gexec
\endif

-- The ledger ---------------------------------------------------------------------------------------------------------
-- A schema of its own, and nothing beyond it.
\if :at_ledger
SELECT format('CREATE ROLE %I LOGIN CONNECTION LIMIT 50', :'owner')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
SELECT format('CREATE SCHEMA %I AUTHORIZATION %I', :'schema', :'owner')
 WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = :'schema') \gexec
-- Where ledger and registry are one database, a batch and its line in the journal can be one transaction, if the writer
-- may use these three tables. They exist after `fencepost ledger upgrade`: run this side once more then.
SELECT format(line, :'schema', :'writer')
  FROM unnest(ARRAY['GRANT USAGE ON SCHEMA %1$I TO %2$I', 'GRANT SELECT, UPDATE ON %1$I.lease TO %2$I',
                    'GRANT SELECT, INSERT, UPDATE ON %1$I.backfill TO %2$I',
                    'GRANT SELECT, INSERT, UPDATE ON %1$I.removal TO %2$I']) AS line
 WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = :'writer')
   AND to_regclass(format('%I.lease', :'schema')) IS NOT NULL
   AND to_regclass(format('%I.removal', :'schema')) IS NOT NULL \gexec
\endif

COMMIT;
