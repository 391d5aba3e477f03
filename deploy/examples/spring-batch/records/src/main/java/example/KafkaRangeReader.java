package example;

import java.time.Duration;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.springframework.batch.item.ExecutionContext;
import org.springframework.batch.item.ItemStreamException;
import org.springframework.batch.item.ItemStreamReader;

/**
 * Reads the records of one partition whose offsets are in {@code [from, to)}, and ends.
 *
 * <p>It joins no consumer group and commits nothing to Kafka: who reads what was decided when pgbatch cut the range, and how far
 * this one has come is in the step's ExecutionContext, which commits with the chunk.
 */
class KafkaRangeReader implements ItemStreamReader<ConsumerRecord<String, String>> {

    private static final String NEXT = "kafka.next.offset";
    /** How long one fetch may wait; a range is there already when its item is made. */
    private static final Duration FETCH = Duration.ofSeconds(1);

    private final Properties settings;
    private final TopicPartition partition;
    private final long from;
    private final long to;

    private KafkaConsumer<String, String> consumer;
    private Iterator<ConsumerRecord<String, String>> fetched = Collections.emptyIterator();
    private long next;

    KafkaRangeReader(Properties settings, TopicPartition partition, long from, long to) {
        this.settings = new Properties();
        this.settings.putAll(settings);
        this.settings.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        // What an aborted transaction has written is no record.
        this.settings.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        // Where retention has deleted a part of the range the run fails, instead of leaving it out.
        this.settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
        this.partition = partition;
        this.from = from;
        this.to = to;
    }

    @Override
    public void open(ExecutionContext progress) throws ItemStreamException {
        next = progress.getLong(NEXT, from);
        consumer = new KafkaConsumer<>(settings);
        consumer.assign(List.of(partition));
        long end = consumer.endOffsets(List.of(partition)).get(partition);
        if (end < to) {
            throw new ItemStreamException(partition + " ends at " + end + ", before " + to + ": the topic has been made anew");
        }
        consumer.seek(partition, next);
    }

    @Override
    public ConsumerRecord<String, String> read() {
        while (next < to) {
            if (fetched.hasNext()) {
                var record = fetched.next();
                next = Math.min(record.offset() + 1, to);
                if (record.offset() < to) {
                    return record;
                }
            } else {
                fetched = consumer.poll(FETCH).iterator();
                // Compaction, aborted records and the marks of transactions leave offsets without a record, at the end of the range
                // too. A poll that returns none of them has still gone past.
                if (!fetched.hasNext()) {
                    next = Math.min(consumer.position(partition), to);
                }
            }
        }
        return null;
    }

    @Override
    public void update(ExecutionContext progress) throws ItemStreamException {
        progress.putLong(NEXT, next);
    }

    @Override
    public void close() throws ItemStreamException {
        if (consumer != null) {
            consumer.close();
        }
    }
}
