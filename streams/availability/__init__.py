"""
Availability: the Redis cache that stock events write, the API that reads it, the channels' pushes.

    stock-events ──▶ [ availability ]  ──▶ Redis ◀── GET /v1/availability
                                                     │ miss
                                                     ▼
                                                 PostgreSQL
    stock-events ──▶ [ channel-stock ] ──▶ POST <stock_url of the shop>
                                       └─▶ queue ──▶ the platform's own API (streams/shipping)

No decision reads any of it. `store.py` says why it stays correct.
"""
