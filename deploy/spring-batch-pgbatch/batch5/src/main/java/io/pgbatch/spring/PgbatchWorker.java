package io.pgbatch.spring;

import io.pgbatch.spring.PartitionQueue.Partition;
import java.util.Map;
import org.springframework.batch.core.BatchStatus;
import org.springframework.batch.core.ExitStatus;
import org.springframework.batch.core.JobExecutionException;
import org.springframework.batch.core.Step;
import org.springframework.batch.core.explore.JobExplorer;
import org.springframework.beans.factory.BeanFactory;

/**
 * Runs one partition, in a run of the queue that {@link PgbatchPartitionHandler} has enqueued to.
 *
 * <pre>{@code
 * @Bean
 * @ConditionalOnProperty("worker")    // with spring.batch.job.enabled=false
 * CommandLineRunner worker(JobExplorer explorer, BeanFactory beans) {
 *     return arguments -> new PgbatchWorker(explorer, beans).run(System.getenv());
 * }
 * }</pre>
 */
public class PgbatchWorker {

    private final JobExplorer explorer;
    private final BeanFactory beans;

    /**
     * @param explorer of the manager's JobRepository
     * @param beans where the step is
     */
    public PgbatchWorker(JobExplorer explorer, BeanFactory beans) {
        this.explorer = explorer;
        this.beans = beans;
    }

    /**
     * Runs the partition that the environment names, to its end.
     *
     * @param environment of the run: {@code System.getenv()}
     * @throws JobExecutionException if it failed, so that the process ends with 1 and pgbatch makes another attempt
     */
    public void run(Map<String, String> environment) throws JobExecutionException {
        var item = Partition.of(environment);
        var partition = explorer.getStepExecution(item.jobExecutionId(), item.stepExecutionId());
        if (partition == null) {
            throw new JobExecutionException(item + " does not exist");
        }
        // An earlier attempt has done it, and could not say so.
        if (partition.getStatus() == BatchStatus.COMPLETED) {
            return;
        }
        if (!partition.getJobExecution().isRunning()) {
            throw new JobExecutionException(item + " is of a JobExecution that is over: the next one makes partitions of its own");
        }
        // What an earlier attempt left; else its failure would stick to the exit status of this one.
        partition.setStatus(BatchStatus.STARTING);
        partition.setExitStatus(ExitStatus.EXECUTING);
        partition.setEndTime(null);
        beans.getBean(item.step(), Step.class).execute(partition);
        if (partition.getStatus() != BatchStatus.COMPLETED) {
            throw new JobExecutionException(item + " is " + partition.getStatus() + ": " + partition.getExitStatus().getExitDescription());
        }
    }
}
