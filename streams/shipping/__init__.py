"""
Shipping: a warehouse says which parcels left, and platforms are told of them.

    pages     the command ShipOrder over HTTP
    saying    the same for the command line
    accounts  whose parcels may be told where: the `[shops.api]` tables
    telling   one parcel told to its platform: the kind `platform` of streams/delivering/

What is told is decided in agents/shipments.py; one attempt at telling is streams/clients/shipping.
"""
