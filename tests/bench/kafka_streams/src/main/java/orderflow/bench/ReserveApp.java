package orderflow.bench;

import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import orderflow.bench.Words.Balance;
import orderflow.bench.Words.Hold;
import orderflow.bench.Words.StockAnswered;
import orderflow.bench.Words.StockCommand;
import orderflow.bench.Words.StockMoved;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The same job as the Kafka Streams documentation would have it: one processor, two persistent
 * state stores with their changelogs, two sinks.
 *
 * <pre>ReserveApp at_least_once|exactly_once_v2 KAFKA PREFIX PARTITIONS DATADIR</pre>
 *
 * <p>Every setting but the guarantee and {@code acks} (said aloud, though it is the default) keeps
 * its default: one stream thread, a commit every 30 s at least once and every 100 ms exactly once,
 * RocksDB without a record cache before it, as {@code Stores} builds it.
 *
 * <p>Promise: with {@code exactly_once_v2} rows, answers, events and the position are committed
 * together, and a reader of committed records sees each outcome once. With {@code at_least_once}
 * commands come again after a crash: a hold that stands is answered again and not held twice, but
 * its event may be missing, since rows and messages reach the broker independently.
 */
public final class ReserveApp {
    static final String BALANCES = "balances";
    static final String HOLDS = "holds";
    static final String ANSWERS = "answers";
    static final String EVENTS = "events";

    private static final String KEEPER = "stock-keeper";
    private static final Duration ENDS_WITHIN = Duration.ofSeconds(10);

    private ReserveApp() {}

    public static void main(String[] arguments) throws InterruptedException {
        String guarantee = arguments[0];
        String kafka = arguments[1];
        String prefix = arguments[2];
        String datadir = arguments[4];
        KafkaStreams streams =
                new KafkaStreams(topology(prefix), settings(guarantee, kafka, prefix, datadir));
        CountDownLatch failed = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    failed.countDown();
                    return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
                });
        ProcessHandle.current()
                .parent()
                .ifPresent(parent -> parent.onExit().thenRun(() -> System.exit(1)));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(ENDS_WITHIN)));
        streams.start();
        failed.await();
        System.exit(1);
    }

    private static Topology topology(String prefix) {
        Serde<String> key = Serdes.String();
        return new Topology()
                .addSource(
                        "commands",
                        key.deserializer(),
                        new Json<>(StockCommand.class).deserializer(),
                        prefix + "stock-commands")
                .addProcessor(KEEPER, StockKeeper::new, "commands")
                .addStateStore(store(BALANCES, Balance.class), KEEPER)
                .addStateStore(store(HOLDS, Hold.class), KEEPER)
                .addSink(
                        ANSWERS,
                        prefix + "order-commands",
                        key.serializer(),
                        new Json<>(StockAnswered.class).serializer(),
                        KEEPER)
                .addSink(
                        EVENTS,
                        prefix + "stock-events",
                        key.serializer(),
                        new Json<>(StockMoved.class).serializer(),
                        KEEPER);
    }

    private static <T> StoreBuilder<KeyValueStore<String, T>> store(String name, Class<T> kind) {
        return Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(name), Serdes.String(), new Json<>(kind));
    }

    private static Properties settings(
            String guarantee, String kafka, String prefix, String datadir) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, prefix + "streams");
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, kafka);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, datadir);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        return settings;
    }
}
