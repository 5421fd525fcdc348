"""
The operations API: what people, and pages for people, look at and change over HTTP.

    web.py        every room's operations, mounted; who asks
    serving.py    the process
    openapi.py    its document
    metrics.py    what is counted of it
"""
