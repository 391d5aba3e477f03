package example;

import io.pgbatch.spring.PartitionQueue;
import io.pgbatch.spring.PgbatchPartitionHandler;
import io.pgbatch.spring.PgbatchWorker;
import java.util.HashMap;
import java.util.Map;
import javax.sql.DataSource;
import org.springframework.batch.core.configuration.annotation.StepScope;
import org.springframework.batch.core.job.Job;
import org.springframework.batch.core.job.builder.JobBuilder;
import org.springframework.batch.core.partition.Partitioner;
import org.springframework.batch.core.repository.JobRepository;
import org.springframework.batch.core.step.Step;
import org.springframework.batch.core.step.builder.StepBuilder;
import org.springframework.batch.infrastructure.item.ExecutionContext;
import org.springframework.batch.infrastructure.item.database.JdbcBatchItemWriter;
import org.springframework.batch.infrastructure.item.database.JdbcPagingItemReader;
import org.springframework.batch.infrastructure.item.database.Order;
import org.springframework.batch.infrastructure.item.database.builder.JdbcBatchItemWriterBuilder;
import org.springframework.batch.infrastructure.item.database.builder.JdbcPagingItemReaderBuilder;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.context.annotation.Bean;
import org.springframework.jdbc.core.DataClassRowMapper;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.core.namedparam.SimplePropertySqlParameterSource;
import org.springframework.transaction.PlatformTransactionManager;

/** Writes an invoice for each purchase, in partitions that are runs of the queue "partitions". */
@SpringBootApplication
public class PartitionsApplication {

    public static void main(String[] args) {
        System.exit(SpringApplication.exit(SpringApplication.run(PartitionsApplication.class, args)));
    }

    record Purchase(long id, String customer, long cents) {}

    @Bean
    Job invoices(JobRepository repository, Step manager) {
        return new JobBuilder("invoices", repository).start(manager).build();
    }

    @Bean
    Step manager(JobRepository repository, DataSource database) {
        var handler = new PgbatchPartitionHandler(new PartitionQueue(database, "partitions"), "range", repository);
        handler.setGridSize(3);
        Partitioner thirds = parts -> {
            long last = new JdbcTemplate(database).queryForObject("SELECT max(id) FROM purchase", Long.class);
            Map<String, ExecutionContext> ranges = new HashMap<>();
            for (int part = 0; part < parts; part++) {
                var range = new ExecutionContext();
                range.putLong("from", last * part / parts + 1);
                range.putLong("to", last * (part + 1) / parts);
                ranges.put("part" + part, range);
            }
            return ranges;
        };
        return new StepBuilder("manager", repository).partitioner("range", thirds).partitionHandler(handler).build();
    }

    @Bean
    Step range(
            JobRepository repository,
            PlatformTransactionManager transactions,
            JdbcPagingItemReader<Purchase> purchases,
            JdbcBatchItemWriter<Purchase> writer) {
        return new StepBuilder("range", repository)
                .<Purchase, Purchase>chunk(50, transactions)
                .reader(purchases)
                .writer(writer)
                .build();
    }

    @Bean
    @StepScope
    JdbcPagingItemReader<Purchase> purchases(
            DataSource database,
            @Value("#{stepExecutionContext['from']}") long from,
            @Value("#{stepExecutionContext['to']}") long to) throws Exception {
        return new JdbcPagingItemReaderBuilder<Purchase>()
                .name("purchases")
                .dataSource(database)
                .selectClause("SELECT id, customer, cents")
                .fromClause("FROM purchase")
                .whereClause("WHERE id BETWEEN :from AND :to")
                .parameterValues(Map.of("from", from, "to", to))
                .sortKeys(Map.of("id", Order.ASCENDING))
                .pageSize(50)
                .rowMapper(new DataClassRowMapper<>(Purchase.class))
                .build();
    }

    @Bean
    JdbcBatchItemWriter<Purchase> writer(DataSource database) {
        return new JdbcBatchItemWriterBuilder<Purchase>()
                .dataSource(database)
                .sql("INSERT INTO invoice (purchase_id, customer, cents) VALUES (:id, :customer, :cents)")
                .itemSqlParameterSourceProvider(SimplePropertySqlParameterSource::new)
                .build();
    }

    @Bean
    @ConditionalOnProperty("worker")
    CommandLineRunner worker(JobRepository repository, BeanFactory beans) {
        return arguments -> new PgbatchWorker(repository, beans).run(System.getenv());
    }
}
