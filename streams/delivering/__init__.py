"""
The queue of what goes out over HTTP and has to arrive, whoever the destination is.

    store     the table `deliveries`: claimed, tried, decided, parked
    sender    the loop: what is due is sent, an order's messages one after the other
    metrics   what it tells Prometheus

The seam. A *kind* of destination is a word in `deliveries.kind` and one entry of the mapping that
`streams/callbacks/serving.py` hands to the `Sender`: a `Kind`, whose `attempt` turns a due
`Delivery` into one HTTP request and returns its `Answer` (it raises nothing for what the other side
does), and whose `stage`, `closed` and name say how it is parked and closed. Whoever fills the queue
writes a row of `delivery_destinations` (kind, id, host, how much at once) and rows of `deliveries`
(kind, destination, lane, message, about, body), in a transaction of its own choosing; everything
from there on (when, in which order, how often, breaker, Retry-After, leases, parking, retry from
the exceptions queue, the log, retention) is the queue's. A lane is what is kept in order: an order.

`agents/deliveries.py` decides; only that process knows what kinds there are: `subscriber`
(streams/callbacks/posting.py) and `platform` (streams/shipping/telling.py).
"""
