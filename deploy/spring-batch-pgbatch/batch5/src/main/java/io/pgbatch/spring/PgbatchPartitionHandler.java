package io.pgbatch.spring;

import io.pgbatch.spring.PartitionQueue.Partition;
import java.time.LocalDateTime;
import java.util.HashSet;
import java.util.Set;
import org.springframework.batch.core.BatchStatus;
import org.springframework.batch.core.ExitStatus;
import org.springframework.batch.core.StepExecution;
import org.springframework.batch.core.explore.JobExplorer;
import org.springframework.batch.core.partition.support.AbstractPartitionHandler;
import org.springframework.batch.core.repository.JobRepository;

/**
 * Runs the partitions of a manager step as runs of pgbatch: each is a Job of its own, with the queue's parallelism and attempts.
 *
 * <p>An attempt after a failed one goes on with the same StepExecution, behind its last chunk. When the batch has ended, a
 * partition that a killed run has left STARTED is FAILED, and so is the manager step.
 */
public class PgbatchPartitionHandler extends AbstractPartitionHandler {

    private final PartitionQueue queue;
    private final String step;
    private final JobRepository repository;
    private final JobExplorer explorer;

    /**
     * @param queue where the partitions go
     * @param step the name of the worker's bean of type Step
     * @param repository of the manager and the workers
     * @param explorer of the same
     */
    public PgbatchPartitionHandler(PartitionQueue queue, String step, JobRepository repository, JobExplorer explorer) {
        this.queue = queue;
        this.step = step;
        this.repository = repository;
        this.explorer = explorer;
    }

    @Override
    protected Set<StepExecution> doHandle(StepExecution manager, Set<StepExecution> partitions) throws Exception {
        if (partitions.isEmpty()) {
            return partitions;
        }
        var job = manager.getJobExecution().getJobInstance();
        var label = job.getJobName() + "/" + job.getInstanceId() + "/" + manager.getStepName();
        queue.run(label, partitions.stream()
                .map(partition -> new Partition(manager.getJobExecutionId(), partition.getId(), step))
                .toList());
        var ended = new HashSet<StepExecution>();
        for (var partition : partitions) {
            ended.add(ended(explorer.getStepExecution(manager.getJobExecutionId(), partition.getId())));
        }
        return ended;
    }

    /** Its last run is over: what is not finished now will not be. */
    private StepExecution ended(StepExecution partition) {
        if (partition.getStatus().isRunning()) {
            partition.setExitStatus(ExitStatus.FAILED.addExitDescription("its runs are over, and left it " + partition.getStatus()));
            partition.setStatus(BatchStatus.FAILED);
            partition.setEndTime(LocalDateTime.now());
            repository.update(partition);
        }
        return partition;
    }
}
