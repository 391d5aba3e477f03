package example;

import java.util.Properties;
import javax.sql.DataSource;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.springframework.batch.core.Job;
import org.springframework.batch.core.Step;
import org.springframework.batch.core.configuration.annotation.StepScope;
import org.springframework.batch.core.job.builder.JobBuilder;
import org.springframework.batch.core.repository.JobRepository;
import org.springframework.batch.core.step.builder.StepBuilder;
import org.springframework.batch.item.database.JdbcBatchItemWriter;
import org.springframework.batch.item.database.builder.JdbcBatchItemWriterBuilder;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.transaction.PlatformTransactionManager;

/**
 * Writes each record of {@code topic} and {@code partition} whose offset is in the range {@code [from, to)} into a table.
 *
 * <p>These four parameters are the identity of the JobInstance: see RangesApplication of the other example.
 */
@SpringBootApplication
public class RecordsApplication {

    public static void main(String[] args) {
        System.exit(SpringApplication.exit(SpringApplication.run(RecordsApplication.class, args)));
    }

    @Bean
    Job clicks(JobRepository repository, Step range) {
        return new JobBuilder("clicks", repository).start(range).build();
    }

    @Bean
    Step range(
            JobRepository repository,
            PlatformTransactionManager transactions,
            KafkaRangeReader records,
            JdbcBatchItemWriter<ConsumerRecord<String, String>> clicks,
            @Value("${chunk-size}") int chunkSize) {
        return new StepBuilder("range", repository)
                .<ConsumerRecord<String, String>, ConsumerRecord<String, String>>chunk(chunkSize, transactions)
                .reader(records)
                .writer(clicks)
                .build();
    }

    @Bean
    @StepScope
    KafkaRangeReader records(
            @Value("${bootstrap-servers}") String servers,
            @Value("${chunk-size}") int chunkSize,
            @Value("#{jobParameters['topic']}") String topic,
            @Value("#{jobParameters['partition']}") int partition,
            @Value("#{jobParameters['from']}") long from,
            @Value("#{jobParameters['to']}") long to) {
        var consumer = new Properties();
        consumer.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
        consumer.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        consumer.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        consumer.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, chunkSize);
        return new KafkaRangeReader(consumer, new TopicPartition(topic, partition), from, to);
    }

    @Bean
    JdbcBatchItemWriter<ConsumerRecord<String, String>> clickWriter(DataSource database) {
        return new JdbcBatchItemWriterBuilder<ConsumerRecord<String, String>>()
                .dataSource(database)
                .sql("INSERT INTO click (kafka_partition, kafka_offset, body) VALUES (?, ?, ?)")
                .itemPreparedStatementSetter((record, insert) -> {
                    insert.setInt(1, record.partition());
                    insert.setLong(2, record.offset());
                    insert.setString(3, record.value());
                })
                .build();
    }
}
