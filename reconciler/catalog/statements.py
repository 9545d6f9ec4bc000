"""What the catalog is asked, as named SQL texts.

Names travel as parameters, cast to text: compared as `name`, PostgreSQL would cut a long one and find another table.

Every function, table and type is taken from pg_catalog, the only schema on the search path of our connections.
"""

from __future__ import annotations

from typing import Final

#: Everything that has rows or looks like it and bears one of these names, in any schema of users.
NAMED: Final = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname::text = ANY (%s::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I', 'c')
   AND n.nspname NOT IN ('pg_toast', 'information_schema') AND n.nspname !~ '^pg_(toast_)?temp_'
 ORDER BY 2, 3"""

#: Tables that could have been meant.
TABLES: Final = """
SELECT n.nspname::text, c.relname::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND n.nspname !~ '^pg_(toast_)?temp_'
 ORDER BY 1, 2 LIMIT 20000"""

#: One table. `row_security_active` is asked of the server, which knows owners, BYPASSRLS and FORCE.
RELATION: Final = """
SELECT c.relkind::text, c.relpersistence::text, pg_catalog.pg_get_userbyid(c.relowner)::text,
       c.relpages::bigint, c.relallvisible::bigint, c.reltuples::float8,
       c.relrowsecurity, c.relforcerowsecurity, pg_catalog.row_security_active(c.oid),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.has_table_privilege(c.oid, 'INSERT'), pg_catalog.has_table_privilege(c.oid, 'UPDATE'),
       pg_catalog.has_table_privilege(c.oid, 'DELETE'), pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'),
       c.relreplident::text, c.relispartition,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = %s::bigint::oid"""

#: Everything below a table, partitions of partitions and plain children alike; a leaf has nothing below it.
BELOW: Final = """
WITH RECURSIVE below AS (
    SELECT i.inhrelid AS oid FROM pg_catalog.pg_inherits i WHERE i.inhparent = %s::bigint::oid
     UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON i.inhparent = b.oid)
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
       c.relpages::bigint, c.relallvisible::bigint, c.reltuples::float8, pg_catalog.row_security_active(c.oid),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT')
  FROM below b JOIN pg_catalog.pg_class c ON c.oid = b.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 ORDER BY n.nspname, c.relname"""

#: The columns, with the type below every domain. PostgreSQL 18 has NOT NULL that is not valid yet. A builtin collation,
#: "C" and "POSIX" order bytewise; libc's C.UTF-8 and ICU are not relied upon. `to_jsonb` because `datlocprovider` is
#: missing before PostgreSQL 15.
COLUMNS: Final = """
WITH RECURSIVE below AS (
    SELECT a.attnum, t.oid, t.typtype, t.typbasetype, t.typtypmod, a.atttypmod AS modifier, false AS not_null,
           false AS filled
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = %(oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
     UNION ALL
    SELECT b.attnum, t.oid, t.typtype, t.typbasetype, t.typtypmod, b.typtypmod, b.not_null OR d.typnotnull,
           b.filled OR d.typdefault IS NOT NULL
      FROM below b JOIN pg_catalog.pg_type d ON d.oid = b.oid JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype
     WHERE b.typtype = 'd')
SELECT a.attnum::int, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       CASE WHEN n.nspname = 'pg_catalog' THEN t.typname::text ELSE n.nspname || '.' || t.typname END,
       dn.nspname::text, d.typname::text, t.typtype::text, b.modifier,
       a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                                     WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated
                                       AND k.conkey[1] = a.attnum),
       a.attnotnull OR b.not_null, a.atthasdef OR b.filled OR a.attidentity <> '', a.attidentity::text,
       a.attgenerated::text, coalesce(l.collisdeterministic, true),
       CASE l.collprovider::text
            WHEN 'd' THEN coalesce(pg_catalog.to_jsonb(db) ->> 'datlocprovider', 'c') = 'b'
                          OR (coalesce(pg_catalog.to_jsonb(db) ->> 'datlocprovider', 'c') = 'c'
                              AND db.datcollate IN ('C', 'POSIX'))
            WHEN 'b' THEN true
            WHEN 'c' THEN l.collcollate IN ('C', 'POSIX')
            ELSE l.oid IS NULL END,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
  FROM pg_catalog.pg_attribute a
  JOIN below b ON b.attnum = a.attnum AND b.typtype <> 'd'
  JOIN pg_catalog.pg_type t ON t.oid = b.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
  JOIN pg_catalog.pg_namespace dn ON dn.oid = d.typnamespace
  JOIN pg_catalog.pg_database db ON db.datname = pg_catalog.current_database()
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
 WHERE a.attrelid = %(oid)s::bigint::oid AND NOT a.attisdropped
 ORDER BY a.attnum"""

#: The indexes, with what keeps one from being of use. Only a family with a default class of PostgreSQL's own, under the
#: column's own collation, serves `ORDER BY`; a stranger's operator class may know another equality.
INDEXES: Final = """
SELECT c.relname::text, i.indisunique, i.indisprimary, i.indimmediate,
       i.indisvalid AND i.indisready AND i.indislive, i.indpred IS NOT NULL, i.indexprs IS NOT NULL,
       m.amname = 'btree' AND NOT i.indisexclusion
       AND NOT EXISTS (SELECT FROM unnest(i.indclass::oid[]) u (class)
                         JOIN pg_catalog.pg_opclass o ON o.oid = u.class
                         JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
                        WHERE n.nspname <> 'pg_catalog'),
       NOT EXISTS (SELECT FROM unnest(i.indclass::oid[], i.indcollation::oid[], i.indkey::int2[])
                               u (class, rules, number)
                     JOIN pg_catalog.pg_opclass o ON o.oid = u.class
                     LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
                    WHERE u.rules <> coalesce(a.attcollation, u.rules)
                       OR NOT EXISTS (SELECT FROM pg_catalog.pg_opclass d
                                       WHERE d.opcfamily = o.opcfamily AND d.opcdefault)),
       (i.indkey::int2[])[0:i.indnkeyatts - 1]::int[]
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_am m ON m.oid = c.relam
 WHERE i.indrelid = %s::bigint::oid
 ORDER BY i.indisprimary DESC, c.relname"""

#: Columns that a check constraint, though no NOT NULL, forbids to be empty (GitLab adds such ones NOT VALID).
CHECKED: Final = """
SELECT a.attname::text, k.convalidated FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
 WHERE k.conrelid = %s::bigint::oid AND k.contype = 'c' AND pg_catalog.cardinality(k.conkey) = 1
   AND pg_catalog.starts_with(pg_catalog.pg_get_constraintdef(k.oid),
                              'CHECK ((' || pg_catalog.quote_ident(a.attname::text) || ' IS NOT NULL))')"""

#: Text keys are compared as their UTF-8 bytes, so the server has to hold them as such.
ENCODING: Final = "SELECT pg_catalog.current_setting('server_encoding')"
