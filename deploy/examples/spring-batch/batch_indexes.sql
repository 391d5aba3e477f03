-- pgbatch finds the JobExecution of a run by its parameter, and its steps by their JobExecution. Spring has no index for either, and
-- never deletes. Idempotent.
CREATE INDEX IF NOT EXISTS batch_job_execution_of_run ON batch_job_execution_params (parameter_value)
    WHERE parameter_name = 'pgbatch.run_id';
CREATE INDEX IF NOT EXISTS batch_step_execution_of_job ON batch_step_execution (job_execution_id);
