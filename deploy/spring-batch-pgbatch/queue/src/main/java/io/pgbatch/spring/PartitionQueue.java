package io.pgbatch.spring;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import javax.sql.DataSource;

/**
 * The queue of pgbatch that partitions go to: one item each, {@code {"job_execution_id", "step_execution_id", "step"}}.
 *
 * <p>Its connections are taken one at a time, outside of any transaction of Spring's, and are expected to be in autocommit mode.
 */
public final class PartitionQueue {

    /** How long one statement waits at most: it holds a snapshot, which keeps VACUUM from its work. */
    private static final String WAIT = "10 min";

    private final DataSource database;
    private final String queue;

    /**
     * @param database where the extension is
     * @param queue a queue of pgbatch; its Jobs run the worker
     */
    public PartitionQueue(DataSource database, String queue) {
        this.database = database;
        this.queue = queue;
    }

    /** What a run of the queue is to do. */
    public record Partition(long jobExecutionId, long stepExecutionId, String step) {

        /**
         * Reads it from the environment of a run.
         *
         * @throws IllegalStateException if this is no run of such a queue
         */
        public static Partition of(Map<String, String> environment) {
            return new Partition(
                    Long.parseLong(value(environment, "JOB_EXECUTION_ID")),
                    Long.parseLong(value(environment, "STEP_EXECUTION_ID")),
                    value(environment, "STEP"));
        }

        private static String value(Map<String, String> environment, String key) {
            var value = environment.get("PGBATCH_ARG_" + key);
            if (value == null) {
                throw new IllegalStateException("PGBATCH_ARG_" + key + " is not set: this is no run of a queue of partitions");
            }
            return value;
        }
    }

    /**
     * Enqueues partitions as one batch, in a transaction of its own, and waits until it has ended, without polling.
     *
     * <p>A batch of the same label that is still open was made by an attempt that is over. It is cancelled, and its runs have ended
     * before anything new is enqueued.
     *
     * @param label names the manager step, the same at each attempt
     * @param partitions what to run
     * @return the state of the batch: {@code succeeded}, {@code failed} or {@code cancelled}
     * @throws SQLException if PostgreSQL refuses, or is gone; what was enqueued goes on
     */
    public String run(String label, List<Partition> partitions) throws SQLException {
        for (long open : openBatches(label)) {
            call("SELECT pgbatch.cancel_batch(?)", open);
            await(open);
        }
        return await(enqueue(label, partitions));
    }

    private long enqueue(String label, List<Partition> partitions) throws SQLException {
        var sql = "SELECT pgbatch.enqueue_batch(?, ARRAY(SELECT jsonb_build_object('job_execution_id', p.job,"
                + " 'step_execution_id', p.step, 'step', p.name) FROM unnest(?, ?, ?) p (job, step, name) ORDER BY p.step), label => ?)";
        try (var connection = database.getConnection();
                var statement = connection.prepareStatement(sql)) {
            statement.setString(1, queue);
            statement.setArray(2, array(connection, "bigint", partitions.stream().map(Partition::jobExecutionId).toList()));
            statement.setArray(3, array(connection, "bigint", partitions.stream().map(Partition::stepExecutionId).toList()));
            statement.setArray(4, array(connection, "text", partitions.stream().map(Partition::step).toList()));
            statement.setString(5, label);
            return first(statement).getLong(1);
        }
    }

    private List<Long> openBatches(String label) throws SQLException {
        var sql = "SELECT coalesce(array_agg(id), '{}') FROM pgbatch.batches WHERE queue = ? AND label = ? AND finished_at IS NULL";
        try (var connection = database.getConnection();
                var statement = connection.prepareStatement(sql)) {
            statement.setString(1, queue);
            statement.setString(2, label);
            return List.of((Long[]) first(statement).getArray(1).getArray());
        }
    }

    private String await(long batch) throws SQLException {
        while (true) {
            var state = call("SELECT pgbatch.wait_batch(?, '" + WAIT + "')", batch);
            if (List.of("succeeded", "failed", "cancelled").contains(state)) {
                return state;
            }
        }
    }

    private String call(String sql, long batch) throws SQLException {
        try (var connection = database.getConnection();
                var statement = connection.prepareStatement(sql)) {
            statement.setLong(1, batch);
            return first(statement).getString(1);
        }
    }

    private static java.sql.Array array(Connection connection, String type, Collection<?> values) throws SQLException {
        return connection.createArrayOf(type, values.toArray());
    }

    private static ResultSet first(PreparedStatement statement) throws SQLException {
        var rows = statement.executeQuery();
        rows.next();
        return rows;
    }
}
