package orderflow.bench;

import orderflow.bench.Words.Balance;
import orderflow.bench.Words.Hold;
import orderflow.bench.Words.StockAnswered;
import orderflow.bench.Words.StockCommand;
import orderflow.bench.Words.StockMoved;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Decide on one command: two rows are written, an answer and an event are forwarded.
 *
 * <p>A hold that stands already is answered with the same yes and moves nothing: at least once,
 * a command comes again after a crash.
 */
final class StockKeeper implements Processor<String, StockCommand, String, Object> {
    private ProcessorContext<String, Object> context;
    private KeyValueStore<String, Balance> balances;
    private KeyValueStore<String, Hold> holds;

    @Override
    public void init(ProcessorContext<String, Object> itsContext) {
        context = itsContext;
        balances = itsContext.getStateStore(ReserveApp.BALANCES);
        holds = itsContext.getStateStore(ReserveApp.HOLDS);
    }

    @Override
    public void process(Record<String, StockCommand> record) {
        StockCommand command = record.value();
        if (command.verb().equals("receive")) {
            receive(command, record.timestamp());
        } else {
            hold(command, record.timestamp());
        }
    }

    private void receive(StockCommand command, long atMs) {
        Balance before = balances.get(command.sku());
        Balance after = (before == null ? Balance.EMPTY : before).received(command.quantity());
        balances.put(command.sku(), after);
        moved(command, atMs, null, "available", after);
    }

    private void hold(StockCommand command, long atMs) {
        Balance before = balances.get(command.sku());
        if (before == null) {
            answer(command, atMs, "unknown_sku", 0);
            return;
        }
        String heldUnder = command.sku() + "/" + command.order();
        if (holds.get(heldUnder) != null) {
            answer(command, atMs, null, 0);
            return;
        }
        if (command.quantity() > before.available()) {
            answer(command, atMs, "not_enough", before.available());
            return;
        }
        Balance after = before.held(command.quantity());
        balances.put(command.sku(), after);
        holds.put(
                heldUnder,
                new Hold(command.quantity(), "locked", "available", command.deadlineMs()));
        moved(command, atMs, "available", "locked", after);
        answer(command, atMs, null, 0);
    }

    private void answer(StockCommand command, long atMs, String refusal, int available) {
        StockAnswered said =
                new StockAnswered(
                        command.order(), command.sku(), command.attempt(), refusal, available);
        context.forward(new Record<>(command.order(), said, atMs), ReserveApp.ANSWERS);
    }

    private void moved(
            StockCommand command, long atMs, String source, String target, Balance after) {
        StockMoved event =
                new StockMoved(
                        command.sku(),
                        atMs,
                        command.cause(),
                        after.version(),
                        command.verb(),
                        command.quantity(),
                        source,
                        target,
                        after.available(),
                        after.locked(),
                        command.order(),
                        command.deadlineMs());
        context.forward(new Record<>(command.sku(), event, atMs), ReserveApp.EVENTS);
    }
}
