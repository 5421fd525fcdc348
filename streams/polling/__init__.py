"""
Asks platforms for orders: by time of modification, so that no gap stays, and one by one where a
message only names an order.

    accounts    the shops of the shops file whose API may be called
    poller      one shop's turns: windows of time, pages, orders, and then the cursor
    thin        which orders a raw message names without saying what they are
    fetching    takes those names off the raw topics, and asks for each order
    store       cursors and names in PostgreSQL
    serving     the process: one task a shop, health and metrics

Everything goes onto the raw topic that the webhooks go onto, whole, in the platform's own bytes;
from there on nothing tells one from the other.
"""
