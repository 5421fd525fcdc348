"""
Callbacks: what happens to orders, told to subscribers by webhook.

    sink         order events into the queue, each once (the role `callbacks`); also those that
                 platforms are told of (streams/shipping/telling.py sends them)
    posting      one delivery as one signed request: the kind `subscriber` of streams/delivering/
    serving      the process `orderflow callbacks run`, for whatever is in the queue
    reach        which addresses a subscriber may have
    subscribers  who they are, and what people change about them
    pages        the same over HTTP

What is told, and of which events, is decided in agents/callbacks.py.
"""
