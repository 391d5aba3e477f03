-- pgbatch finds the JobExecution of a run by its parameter. Spring has no index for that, and never deletes. Idempotent.
CREATE INDEX IF NOT EXISTS batch_job_execution_of_run ON batch_job_execution_params (parameter_value)
    WHERE parameter_name = 'pgbatch.run_id';
