package orderflow.bench;

/** The words of the job, as JSON has them: the dialect of {@code streams/bench/faust_way.py}. */
final class Words {
    private Words() {}

    /** Receive units of a SKU, or hold some of them for an order. */
    record StockCommand(
            String verb,
            String sku,
            int quantity,
            String order,
            int attempt,
            Long deadlineMs,
            String cause) {}

    /** The stock of one SKU. */
    record Balance(int available, int locked, int version) {
        static final Balance EMPTY = new Balance(0, 0, 0);

        Balance received(int quantity) {
            return new Balance(available + quantity, locked, version + 1);
        }

        Balance held(int quantity) {
            return new Balance(available - quantity, locked + quantity, version + 1);
        }
    }

    /** What one order holds of one SKU. */
    record Hold(int quantity, String bucket, String origin, Long deadlineMs) {}

    /** The answer to the order. */
    record StockAnswered(String order, String sku, int attempt, String refusal, int available) {}

    /** What subscribers are told. */
    record StockMoved(
            String sku,
            long atMs,
            String cause,
            int version,
            String verb,
            int quantity,
            String source,
            String target,
            int available,
            int locked,
            String order,
            Long deadlineMs) {}
}
