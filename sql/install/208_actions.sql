-- What people have done: of the queues that one may read, and all of it for the extension's owner.
CREATE VIEW pgbatch.actions AS
SELECT a.id, a.at, a.action, a.queue, a.batch_id, a.trigger_name AS trigger, a.detail, a.reason, a.role, a.login, a.on_behalf_of
FROM pgbatch.action a;

COMMENT ON VIEW pgbatch.actions IS 'Who has changed a queue, a right, a limit or a trigger, or cancelled or retried a batch; kept for a year';
COMMENT ON COLUMN pgbatch.actions.action IS 'The function that was called; create_trigger for each that makes one';
COMMENT ON COLUMN pgbatch.actions.queue IS 'NULL or * = not about a single one';
COMMENT ON COLUMN pgbatch.actions.detail IS 'For a change {"setting": {"from", "to"}}';
COMMENT ON COLUMN pgbatch.actions.reason IS 'What was said before by SET pgbatch.reason';
COMMENT ON COLUMN pgbatch.actions.role IS 'As whom; login is whose session it was';
COMMENT ON COLUMN pgbatch.actions.on_behalf_of IS 'For whom that login acted, as it says itself by SET pgbatch.on_behalf_of: the dashboard does';
