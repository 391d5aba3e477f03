-- The rights that hold, of all roles for the extension's owner, of his own for anybody else.
CREATE VIEW pgbatch.rights AS
SELECT r.queue, r.role_name AS role, r.what, r.granted_at, r.granted_by
FROM pgbatch.queue_right r
WHERE r.role_id = pg_catalog.to_regrole(pg_catalog.quote_ident(r.role_name));

COMMENT ON VIEW pgbatch.rights IS 'Who may do what with which queue; the extension''s owner needs no right';
COMMENT ON COLUMN pgbatch.rights.queue IS '* = all of them';
COMMENT ON COLUMN pgbatch.rights.what IS 'enqueue, manage, read, own; dispatch, scaled_jobs: by grant_dispatcher()';
