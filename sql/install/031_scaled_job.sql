-- The ScaledJobs of KEDA in the cluster that the dispatcher serves (--scaled-jobs): which queue each became. A row outlives
-- its ScaledJob: the queue stays, and is taken over again by one of the same name.
CREATE TABLE pgbatch.scaled_job (
    namespace text   NOT NULL,
    name      text   NOT NULL,
    queue     text   NOT NULL CONSTRAINT scaled_job_queue UNIQUE,
    -- As it was taken over; NULL = it is gone.
    manifest  jsonb,
    -- The triggers that were made of it.
    triggers  text[] NOT NULL,
    PRIMARY KEY (namespace, name)
);
