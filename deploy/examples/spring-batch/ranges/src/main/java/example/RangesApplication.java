package example;

import java.util.Map;
import javax.sql.DataSource;
import org.springframework.batch.core.Job;
import org.springframework.batch.core.Step;
import org.springframework.batch.core.configuration.annotation.StepScope;
import org.springframework.batch.core.job.builder.JobBuilder;
import org.springframework.batch.core.repository.JobRepository;
import org.springframework.batch.core.step.builder.StepBuilder;
import org.springframework.batch.item.database.JdbcBatchItemWriter;
import org.springframework.batch.item.database.JdbcPagingItemReader;
import org.springframework.batch.item.database.Order;
import org.springframework.batch.item.database.builder.JdbcBatchItemWriterBuilder;
import org.springframework.batch.item.database.builder.JdbcPagingItemReaderBuilder;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.jdbc.core.DataClassRowMapper;
import org.springframework.jdbc.core.namedparam.SimplePropertySqlParameterSource;
import org.springframework.transaction.PlatformTransactionManager;

/**
 * Writes an invoice for each purchase whose id is in a range that enqueue_ranges() has cut: {@code from} and {@code to} are part of it.
 *
 * <p>The parameters {@code from} and {@code to} are the identity of the JobInstance, and nothing else is. So the attempt after a
 * failed one restarts the same instance, and goes on behind the last chunk that was committed. The parameter
 * {@code pgbatch.run_id} is another one at each attempt: it must not be identifying, or each attempt would begin anew.
 */
@SpringBootApplication
public class RangesApplication {

    public static void main(String[] args) {
        // Without exit() the process ends with 0 although its job has failed. pgbatch is not deceived, as it looks into
        // BATCH_JOB_EXECUTION (options => '{"spring_batch": true}'); who looks at the Job or its pod is.
        System.exit(SpringApplication.exit(SpringApplication.run(RangesApplication.class, args)));
    }

    record Purchase(long id, String customer, long cents) {}

    @Bean
    Job invoices(JobRepository repository, Step range) {
        return new JobBuilder("invoices", repository).start(range).build();
    }

    /** A chunk's invoices and the step's progress are one transaction: a killed run has written whole chunks, and says which. */
    @Bean
    Step range(
            JobRepository repository,
            PlatformTransactionManager transactions,
            JdbcPagingItemReader<Purchase> purchases,
            JdbcBatchItemWriter<Purchase> invoices,
            @Value("${chunk-size}") int chunkSize) {
        return new StepBuilder("range", repository)
                .<Purchase, Purchase>chunk(chunkSize, transactions)
                .reader(purchases)
                .writer(invoices)
                .build();
    }

    @Bean
    @StepScope
    JdbcPagingItemReader<Purchase> purchases(
            DataSource database,
            @Value("#{jobParameters['from']}") long from,
            @Value("#{jobParameters['to']}") long to,
            @Value("${chunk-size}") int chunkSize) {
        return new JdbcPagingItemReaderBuilder<Purchase>()
                .name("purchases")
                .dataSource(database)
                .selectClause("SELECT id, customer, cents")
                .fromClause("FROM purchase")
                .whereClause("WHERE id BETWEEN :from AND :to")
                .parameterValues(Map.of("from", from, "to", to))
                .sortKeys(Map.of("id", Order.ASCENDING))
                .pageSize(chunkSize)
                .rowMapper(new DataClassRowMapper<>(Purchase.class))
                .build();
    }

    @Bean
    JdbcBatchItemWriter<Purchase> invoiceWriter(DataSource database) {
        return new JdbcBatchItemWriterBuilder<Purchase>()
                .dataSource(database)
                .sql("INSERT INTO invoice (purchase_id, customer, cents) VALUES (:id, :customer, :cents)")
                .itemSqlParameterSourceProvider(SimplePropertySqlParameterSource::new)
                .build();
    }
}
