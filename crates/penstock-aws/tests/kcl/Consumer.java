import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.async.SdkAsyncHttpClient;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.StreamConfig;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.coordinator.WorkerStateChangeListener.WorkerState;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.FormerStreamsLeasesDeletionStrategy;
import software.amazon.kinesis.processor.MultiStreamTracker;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.processor.StreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A consumer on the KCL that leaves a journal of what it did, for the interop tests; it compiles against KCL 2 and 3.
 *
 * <p>Arguments are {@code name=value}: stream (several, apart by commas, make a multi-stream application), application,
 * worker, kinesis, dynamodb, region, failover_ms, journal, {@code halt=aggregate} for going no further than the middle of an
 * aggregated record, and client_version for the KCL 3's setting of that name. The journal has a line for each event, its
 * parts apart by tabs; SHARD is the lease key, which names the stream as well where there are several:
 *
 * <pre>
 * ready                                          the scheduler runs
 * start       SHARD  SEQUENCE  SUBSEQUENCE       a tenure of a shard begins behind this position
 * record      SHARD  SEQUENCE  SUBSEQUENCE DATA  a user record was processed
 * checkpoint  SHARD  SEQUENCE  SUBSEQUENCE       the lease table took this checkpoint
 * refused     SHARD  SEQUENCE  SUBSEQUENCE       it did not: the lease is somebody else's
 * halt        SHARD  SEQUENCE  SUBSEQUENCE       nothing more of this shard is processed or checkpointed
 * lost        SHARD                              the tenure is over
 * end         SHARD                              the shard ended, and the lease table took that
 * stop                                           all consumers were shut down after SIGTERM
 * </pre>
 *
 * <p>SIGTERM ends it in order, the end of its standard input at once. A batch is journaled before it is checkpointed, as an application delivers before it checkpoints.
 */
public final class Consumer {
    private static volatile boolean stopping;

    public static void main(String[] arguments) throws Exception {
        Map<String, String> settings = Arrays.stream(arguments)
                .map(argument -> argument.split("=", 2))
                .collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
        Journal journal = new Journal(Path.of(settings.get("journal")));
        boolean halts = "aggregate".equals(settings.get("halt"));
        Scheduler scheduler = scheduler(settings, journal, halts);
        Thread runner = new Thread(scheduler, "scheduler");
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(scheduler, journal, runner)));
        endWithStandardInput();
        runner.start();
        runner.join();
        if (!stopping) {
            System.err.println("the scheduler ended by itself");
            Runtime.getRuntime().halt(1);
        }
    }

    /** Whoever started us holds the other end: a consumer does not outlive its test. */
    private static void endWithStandardInput() {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (IOException error) {
                // As good as its end.
            }
            Runtime.getRuntime().halt(1);
        });
        watch.setDaemon(true);
        watch.start();
    }

    /**
     * A graceful shutdown waits for ever for the consumer of a shard that has ended and whose lease is still there, which is
     * gone already; so it gets a while, and then the scheduler is told to come to its end, as the KCL's documentation has it.
     */
    private static void stop(Scheduler scheduler, Journal journal, Thread runner) {
        stopping = true;
        int code = 1;
        try {
            try {
                scheduler.startGracefulShutdown().get(5, TimeUnit.SECONDS);
            } catch (TimeoutException error) {
                scheduler.shutdown();
            }
            runner.join(30_000);
            if (!runner.isAlive()) {
                journal.write("stop");
                code = 0;
            }
        } catch (Exception error) {
            error.printStackTrace();
        }
        Runtime.getRuntime().halt(code);
    }

    private static Scheduler scheduler(Map<String, String> settings, Journal journal, boolean halts) throws Exception {
        Region region = Region.of(settings.get("region"));
        EnvironmentVariableCredentialsProvider credentials = EnvironmentVariableCredentialsProvider.create();
        KinesisAsyncClient kinesis = KinesisAsyncClient.builder()
                .region(region)
                .credentialsProvider(credentials)
                .endpointOverride(URI.create(settings.get("kinesis")))
                .httpClient(http())
                .build();
        DynamoDbAsyncClient dynamodb = DynamoDbAsyncClient.builder()
                .region(region)
                .credentialsProvider(credentials)
                .endpointOverride(URI.create(settings.get("dynamodb")))
                .httpClient(http())
                .build();
        // Asked for by the builder, and never called: metrics go nowhere.
        CloudWatchAsyncClient metrics = CloudWatchAsyncClient.builder()
                .region(region)
                .credentialsProvider(credentials)
                .endpointOverride(URI.create(settings.get("dynamodb")))
                .httpClient(http())
                .build();
        String[] streams = settings.get("stream").split(",");
        ConfigsBuilder configs = new ConfigsBuilder(
                tracker(streams, kinesis),
                settings.get("application"),
                kinesis,
                dynamodb,
                metrics,
                settings.get("worker"),
                new Processors(journal, halts));
        LeaseManagementConfig leases = configs.leaseManagementConfig()
                .failoverTimeMillis(Long.parseLong(settings.get("failover_ms")))
                .shardSyncIntervalMillis(500); // also how long the first sync rests when it has made leases
        withoutWorkerMetrics(leases);
        PollingConfig polling = streams.length == 1 ? new PollingConfig(streams[0], kinesis) : new PollingConfig(kinesis);
        CoordinatorConfig coordinator = configs.coordinatorConfig()
                .parentShardPollIntervalMillis(500)
                .shardConsumerDispatchPollIntervalMillis(200)
                .workerStateChangeListener(state -> {
                    if (state == WorkerState.STARTED) {
                        journal.write("ready");
                    }
                });
        if (settings.containsKey("client_version")) {
            as(coordinator, settings.get("client_version"));
        }
        return new Scheduler(
                configs.checkpointConfig(),
                coordinator,
                leases,
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                configs.retrievalConfig().retrievalSpecificConfig(polling.idleTimeBetweenReadsInMillis(250)));
    }

    /** One stream by its name, as most applications have it; several by account, name and time of creation, as the KCL asks. */
    private static StreamTracker tracker(String[] streams, KinesisAsyncClient kinesis) throws Exception {
        InitialPositionInStreamExtended start =
                InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        if (streams.length == 1) {
            return new SingleStreamTracker(streams[0], start);
        }
        List<StreamConfig> configs = new ArrayList<>();
        for (String stream : streams) {
            configs.add(new StreamConfig(identifier(stream, kinesis), start));
        }
        return new Streams(configs);
    }

    private static StreamIdentifier identifier(String stream, KinesisAsyncClient kinesis)
            throws ExecutionException, InterruptedException {
        StreamDescriptionSummary summary = kinesis.describeStreamSummary(request -> request.streamName(stream))
                .get()
                .streamDescriptionSummary();
        String account = summary.streamARN().split(":")[4];
        long created = summary.streamCreationTimestamp().getEpochSecond();
        return StreamIdentifier.multiStreamInstance(account + ":" + stream + ":" + created);
    }

    /** KCL 3 alone has such a setting. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void as(CoordinatorConfig coordinator, String version) throws Exception {
        Class<? extends Enum> versions = (Class<? extends Enum>)
                Class.forName("software.amazon.kinesis.coordinator.CoordinatorConfig$ClientVersionConfig");
        CoordinatorConfig.class
                .getMethod("clientVersionConfig", versions)
                .invoke(coordinator, Enum.valueOf(versions, version));
    }

    private static SdkAsyncHttpClient http() {
        return NettyNioAsyncHttpClient.builder()
                .protocol(Protocol.HTTP1_1)
                .maxConcurrency(50)
                .build();
    }

    /** KCL 3 would look for the machine's CPU figures, also in the network; without them it balances by throughput. */
    private static void withoutWorkerMetrics(LeaseManagementConfig leases) throws Exception {
        Object config;
        try {
            config = LeaseManagementConfig.class
                    .getMethod("workerUtilizationAwareAssignmentConfig")
                    .invoke(leases);
        } catch (NoSuchMethodException error) {
            return; // KCL 2 has no such figures.
        }
        config.getClass().getMethod("disableWorkerMetrics", boolean.class).invoke(config, true);
    }

    /** The streams of a multi-stream application, which never change. */
    private static final class Streams implements MultiStreamTracker {
        private final List<StreamConfig> configs;

        Streams(List<StreamConfig> configs) {
            this.configs = configs;
        }

        @Override
        public List<StreamConfig> streamConfigList() {
            return configs;
        }

        @Override
        public FormerStreamsLeasesDeletionStrategy formerStreamsLeasesDeletionStrategy() {
            return new FormerStreamsLeasesDeletionStrategy.NoLeaseDeletionStrategy();
        }
    }

    /** Makes a processor for each tenure. */
    private static final class Processors implements ShardRecordProcessorFactory {
        private final Journal journal;
        private final boolean halts;

        Processors(Journal journal, boolean halts) {
            this.journal = journal;
            this.halts = halts;
        }

        @Override
        public ShardRecordProcessor shardRecordProcessor() {
            return new Processor(journal, halts, "");
        }

        @Override
        public ShardRecordProcessor shardRecordProcessor(StreamIdentifier stream) {
            // A single-stream identifier has no account, and its lease keys no prefix.
            boolean several = stream.accountIdOptional().isPresent();
            return new Processor(journal, halts, several ? stream.serialize() + ":" : "");
        }
    }

    /** One file for all shards. What is written is there for whoever reads the file. */
    private static final class Journal {
        private final Path file;

        Journal(Path file) {
            this.file = file;
        }

        synchronized void write(String... lines) {
            String text = String.join("\n", lines) + "\n";
            try {
                Files.writeString(file, text, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            } catch (IOException error) {
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        }
    }

    /** One tenure of one shard. */
    private static final class Processor implements ShardRecordProcessor {
        private final Journal journal;
        private final boolean halts;
        private final String prefix;
        private String shard;
        private boolean halted;

        Processor(Journal journal, boolean halts, String prefix) {
            this.journal = journal;
            this.halts = halts;
            this.prefix = prefix;
        }

        @Override
        public void initialize(InitializationInput input) {
            shard = prefix + input.shardId();
            journal.write(String.join(
                    "\t",
                    "start",
                    shard,
                    input.extendedSequenceNumber().sequenceNumber(),
                    String.valueOf(input.extendedSequenceNumber().subSequenceNumber())));
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            List<KinesisClientRecord> records = input.records();
            if (halted || records.isEmpty()) {
                return;
            }
            int haltAt = halts ? withinAggregate(records) : -1;
            List<KinesisClientRecord> taken = haltAt < 0 ? records : records.subList(0, haltAt + 1);
            journal.write(taken.stream().map(this::line).toArray(String[]::new));
            KinesisClientRecord last = taken.get(taken.size() - 1);
            checkpoint(input.checkpointer(), last);
            if (haltAt >= 0) {
                halted = true;
                journal.write(event("halt", last));
            }
        }

        /** A record that neither begins nor ends its aggregate; -1 if there is none. */
        private static int withinAggregate(List<KinesisClientRecord> records) {
            for (int index = 0; index + 1 < records.size(); index++) {
                KinesisClientRecord next = records.get(index + 1);
                boolean sameAggregate = next.sequenceNumber().equals(records.get(index).sequenceNumber());
                if (records.get(index).subSequenceNumber() > 0 && sameAggregate) {
                    return index;
                }
            }
            return -1;
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer, KinesisClientRecord last) {
            String outcome = "checkpoint";
            try {
                checkpointer.checkpoint(last.sequenceNumber(), last.subSequenceNumber());
            } catch (ShutdownException | InvalidStateException error) {
                outcome = "refused";
            }
            journal.write(event(outcome, last));
        }

        private String line(KinesisClientRecord record) {
            String data = StandardCharsets.UTF_8.decode(record.data().duplicate()).toString();
            return event("record", record) + "\t" + data;
        }

        private String event(String name, KinesisClientRecord record) {
            return String.join(
                    "\t", name, shard, record.sequenceNumber(), String.valueOf(record.subSequenceNumber()));
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            journal.write("lost\t" + shard);
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            if (halted) {
                return; // An application that has not processed everything does not checkpoint here either.
            }
            try {
                input.checkpointer().checkpoint();
                journal.write("end\t" + shard);
            } catch (ShutdownException | InvalidStateException error) {
                journal.write("lost\t" + shard);
            }
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            // Each batch was checkpointed when it was processed.
        }
    }
}
