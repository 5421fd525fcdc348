"""
The door for what comes over HTTP: proved on the raw bytes, stored, and only then acknowledged.

`signatures` knows how each platform proves that it is itself, `shops` whose secrets are known here,
`requests` reads a request within its limits, `door` puts a record on the broker. `webhooks` and
`orders` answer the platforms and the own mall, `web` puts them under their addresses, and `serving`
is the process.
"""
